# Writes a copy of a .proto in which `string` fields are `bytes`: the same octets on the wire, but
# protobuf-c then keeps their length, so that a NUL cannot cut a text and no text goes unchecked.
# Usage: cmake -DIN=a.proto -DOUT=b.proto -P strings_as_bytes.cmake
file(READ ${IN} text)
string(REGEX REPLACE " string ([a-z_]+ =)" " bytes \\1" text "${text}")
file(WRITE ${OUT} "${text}")
