package partition

import "golang.org/x/sys/unix"

// remapMemory changes a mapping's size; its pages move, they are not copied.
func remapMemory(mem []byte, n int) ([]byte, error) {
	return unix.Mremap(mem, n, unix.MREMAP_MAYMOVE)
}

// adviseHugePages asks for pages of 2 MiB: a look-up touches two places at random, and with small pages each of them
// costs a walk through the page tables besides the cache miss.
func adviseHugePages(mem []byte) { _ = unix.Madvise(mem, unix.MADV_HUGEPAGE) }

// populateMemory makes mem resident, as a write to each page would, but beside whoever writes. Before Linux 5.14 it does nothing.
func populateMemory(mem []byte) { _ = unix.Madvise(mem, unix.MADV_POPULATE_WRITE) }
