# cmake -DINPUT=file -DOUTPUT=file.cc -DHEADER=cli/x.h -DNAME=geist::cli::embedded_x -P embed_file.cmake
#
# Writes a C++ source that defines `std::string_view NAME()`, the bytes of INPUT, as HEADER declares it.
file(READ "${INPUT}" hex HEX)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n" bytes "${bytes}")
file(WRITE "${OUTPUT}" "#include \"${HEADER}\"\n\nstatic const unsigned char kBytes[] = {\n${bytes}};\n
std::string_view ${NAME}() { return {reinterpret_cast<const char*>(kBytes), sizeof(kBytes)}; }\n")
