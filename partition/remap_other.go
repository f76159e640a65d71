//go:build unix && !linux

package partition

// remapMemory changes a mapping's size by copying, where the system has no mremap.
func remapMemory(mem []byte, n int) ([]byte, error) {
	grown, err := mapMemory(n)
	if err != nil {
		return nil, err
	}
	copy(grown, mem)
	return grown, unmapMemory(mem)
}

func adviseHugePages([]byte) {}

func populateMemory([]byte) {}
