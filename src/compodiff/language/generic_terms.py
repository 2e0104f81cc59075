"""Words that are no object of a picture, or an attribute that none shows: replacing them makes nonsense."""

_NOUNS = """
photo photos photograph photographs photography picture pictures image images shot shots view views portrait portraits
illustration illustrations drawing drawings painting paintings vector vectors art artwork clipart icon icons logo logos
wallpaper wallpapers background backgrounds stock footage video videos clip render rendering design designs pattern
patterns template templates collection set sets series version versions style styles format size quality resolution
thing things stuff item items object objects something anything everything nothing someone anyone one ones other others
kind kinds sort sorts type types variety lot lots number numbers amount bunch couple group groups pair pairs piece
pieces part parts bit half rest top bottom side sides front back middle center centre edge end left right inside
outside area areas place places spot location position direction corner row rows line lines line-up way ways distance
time times day days night nights winter summer spring autumn season seasons date
year years week month moment hour minute today morning afternoon evening case cases example examples
idea ideas concept concepts look looks feature features detail details use purpose action activity activities event
events scene scenes sight space name names title word words text caption information data person's shape shapes form
forms color colors colour colours copy sale price free news world life home work job fun love order variation addition
lack course fact reason result level point points step steps member members
"""
_ADJECTIVES = """
other another many several few much more most various different same such own certain particular first second third last
next new main general common special single double multiple numerous available possible able unknown famous popular
favorite favourite good great best better nice perfect beautiful pretty lovely amazing awesome cool cute funny bad worst
interesting important ready full entire whole complete real true actual original typical traditional unique similar
local national international american british european official royalty-free high-quality hd background abstract stock
left right front top middle upper lower inner outer close nearby far isolated seamless
"""
GENERIC = frozenset(f"{_NOUNS} {_ADJECTIVES}".split())
