//go:build amd64 || arm64

package partition

import "unsafe"

// prefetch asks for the cache line at p; it waits for nothing.
//
//go:noescape
func prefetch(p unsafe.Pointer)
