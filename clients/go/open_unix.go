//go:build unix

package dashgate

import "syscall"

// openFlags open a pipe without waiting for its other end, and a terminal without making it that of
// the process.
const openFlags = syscall.O_NONBLOCK | syscall.O_NOCTTY
