package fastpath

// The program's object and the Go code that loads it are generated and committed, so that building halfopen needs no compiler for C. They
// are the same on every machine with the same compiler: the sources include no header but their own, and the object holds no path.
//
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -cflags "-O2 -mcpu=v3 -Wall -Wextra -Werror" -target bpfel,bpfeb -no-global-types bpf bpf/halfopen.c
