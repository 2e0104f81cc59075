"""What tests share: small projects, folders and servers made for one subject each."""
