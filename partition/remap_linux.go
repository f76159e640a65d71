package partition

import "golang.org/x/sys/unix"

// remapMemory changes a mapping's size; its pages move, they are not copied.
func remapMemory(mem []byte, n int) ([]byte, error) {
	return unix.Mremap(mem, n, unix.MREMAP_MAYMOVE)
}
