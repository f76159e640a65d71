//go:build unix

package partition

import "golang.org/x/sys/unix"

// mapMemory asks the operating system for n zeroed bytes that the collector does not know of.
func mapMemory(n int) ([]byte, error) {
	mem, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err == nil && n >= mappingBytes {
		adviseHugePages(mem)
	}
	return mem, err
}

func unmapMemory(mem []byte) error { return unix.Munmap(mem) }

// releaseMemory gives the pages behind mem back; the next touch finds zeroes (or, on some systems, the old contents).
func releaseMemory(mem []byte) { _ = unix.Madvise(mem, unix.MADV_DONTNEED) }
