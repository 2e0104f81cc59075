// Short ways to the page's elements.

export const $ = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** A drawing of icons.svg, hidden from screen readers: the button around it says what it does. */
export function icon(name) {
  const drawn = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  drawn.setAttribute("aria-hidden", "true");
  drawn.classList.add("icon");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `/page/icons.svg#${name}`);
  drawn.append(use);
  return drawn;
}

/** A button that shows an icon only; `label` is its name for screen readers and its tooltip. */
export function iconButton(name, label, act, className = "round") {
  const button = element("button", { type: "button", className, title: label, onclick: act }, icon(name));
  button.setAttribute("aria-label", label);
  return button;
}

export const isPhone = () => matchMedia("(max-width: 800px)").matches;
export const wantsNoMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
