#!/usr/bin/env bash
# Installs the library from a clone, into the folder of the user.
# region install
cmake -S clients/cpp -B build && cmake --build build -j4 && cmake --install build --prefix ~/.local
# endregion
