//go:build !unix

package dashgate

// openFlags are none: there are no pipes in folders.
const openFlags = 0
