/*
 * The tracer `alloc` by uprobe sessions. They call a function of the kernel, and libbpf loads an object that
 * names one only where the kernel tells its types: the rest must do without.
 */
#define SESSIONS
#include "alloc.bpf.c"
