# Writes a copy of a .proto in which `string` fields are `bytes`: the same octets on the wire, but
# protobuf-c then keeps their length, so that a NUL cannot cut a text and no text goes unchecked.
# Services are left out: the daemon has a table of methods of its own, and protobuf-c would make a
# C name of every method, also of those that C keeps for itself (Jobs.Continue).
# Usage: cmake -DIN=a.proto -DOUT=b.proto -P strings_as_bytes.cmake
file(READ ${IN} text)
string(REGEX REPLACE " string ([a-z_]+ =)" " bytes \\1" text "${text}")
string(REGEX REPLACE "\nservice [A-Za-z]+ {[^}]*}" "" text "${text}")
file(WRITE ${OUT} "${text}")
