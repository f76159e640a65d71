package server

// keyPositions appends the positions of a command line's keys.
func (r *Row) keyPositions(dst []int, args [][]byte) []int {
	for i := range r.Keys {
		k := &r.Keys[i]
		last := k.Last + k.Index
		if k.Last < 0 {
			last = len(args) + k.Last
		}
		for at := k.Index; at <= last && at < len(args); at += k.Step {
			dst = append(dst, at)
		}
	}
	return dst
}
