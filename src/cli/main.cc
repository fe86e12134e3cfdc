#include "cli/command.h"

int main(int argc, char** argv) { return geist::cli::run_program(argc, argv); }
