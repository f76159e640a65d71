package server

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/neargrid/neargrid/protocol"
)

// keyPositions appends the positions of a command line's keys, as far as key specs tell. A spec that does not fit the line
// adds none: the command will answer an error. It does not allocate where dst has room.
func (r *Row) keyPositions(dst []int, args [][]byte) []int {
	if r.Wraps {
		return wrappedPositions(dst, args)
	}
	for i := range r.Keys {
		k := &r.Keys[i]
		if k.Flags&NotKey != 0 {
			continue
		}
		first, last, step, ok := k.span(args)
		for at := first; ok && at <= last; at += step {
			dst = append(dst, at)
		}
	}
	return dst
}

// keyRef is one key of a command line: where it stands, and what the command does with it.
type keyRef struct {
	at    int
	flags KeyFlag
}

// keyRefs finds a command line's keys, and knows of each what the command does with it. ok is false where the line is not
// one the command can accept.
func (r *Row) keyRefs(args [][]byte) (refs []keyRef, ok bool) {
	if r.FindKeys != nil {
		refs = r.FindKeys(args)
		return refs, len(refs) > 0
	}
	for i := range r.Keys {
		k := &r.Keys[i]
		if k.Flags&NotKey != 0 {
			continue
		}
		first, last, step, ok := k.span(args)
		if !ok {
			return r.looselyCounted(args)
		}
		for at := first; at <= last; at += step {
			refs = append(refs, keyRef{at, k.Flags})
		}
	}
	return refs, len(refs) > 0
}

// looselyCounted finds the keys of a line whose specs do not fit, as Redis does for commands that say how many keys follow: by whatever
// number the count begins with. What the command does with them nobody knows then, and a destination comes last.
func (r *Row) looselyCounted(args [][]byte) (refs []keyRef, ok bool) {
	i := slices.IndexFunc(r.Keys, func(k KeySpec) bool { return k.NumKeys != nil })
	if i < 0 {
		return nil, false
	}
	at := r.Keys[i].Index
	if at >= len(args) {
		return nil, false
	}
	count := leadingInt(args[at])
	if count < 1 || int(count) > len(args)-at-1 {
		return nil, false
	}
	for n := range int(count) {
		refs = append(refs, keyRef{at: at + 1 + n})
	}
	for _, before := range r.Keys[:i] {
		refs = append(refs, keyRef{at: before.Index})
	}
	return refs, true
}

// leadingInt is C's atoi: the number that s begins with, 0 where it begins with none, and of a long one the low 32 bits.
func leadingInt(s []byte) int32 {
	s = bytes.TrimLeft(s, " \t\n\v\f\r")
	end := 0
	for end < len(s) && (s[end] >= '0' && s[end] <= '9' || end == 0 && (s[0] == '-' || s[0] == '+')) {
		end++
	}
	n, _ := strconv.ParseInt(string(s[:end]), 10, 64) // beyond 64 bits it is the nearest that fits, as with C's
	return int32(n)
}

// hasKeys tells whether a command takes any keys.
func (r *Row) hasKeys() bool {
	for _, k := range r.Keys {
		if k.Flags&NotKey == 0 {
			return true
		}
	}
	return false
}

// span is where a spec's keys stand in a command line: at first, first+step ... up to last, which is in the line. Without
// its keyword a spec has no keys, and last is below first; ok is false where it does not fit the line.
func (k *KeySpec) span(args [][]byte) (first, last, step int, ok bool) {
	if k.Unknown {
		return 0, 0, 0, false
	}
	first = k.Index
	if k.Keyword != "" {
		if first = k.behindKeyword(args); first == 0 {
			return 1, 0, 1, true
		}
	}
	switch {
	case k.NumKeys != nil:
		n := k.NumKeys
		if first+n.KeyNum >= len(args) {
			return 0, 0, 0, false
		}
		count, isInt := protocol.ParseInt(args[first+n.KeyNum])
		if !isInt || count < 1 || count > int64(len(args)) {
			return 0, 0, 0, false
		}
		first += n.First
		last, step = first+int(count)-1, n.Step
	case k.Last >= 0:
		last, step = first+k.Last, k.Step
	case k.Limit > 1:
		last, step = first+(len(args)-first)/k.Limit+k.Last, k.Step
	default:
		last, step = len(args)+k.Last, k.Step
	}
	return first, last, step, first <= last && last < len(args)
}

// behindKeyword is the position behind the spec's keyword, or 0. It looks from From up to the last argument but one, or
// from From, counted from the end, down to the second.
func (k *KeySpec) behindKeyword(args [][]byte) int {
	at, end, step := k.From, len(args)-1, 1
	if k.From < 0 {
		at, end, step = len(args)+k.From, 1, -1
	}
	for ; 1 <= at && at < len(args) && at != end; at += step {
		if len(args[at]) == len(k.Keyword) && bytes.EqualFold(args[at], []byte(k.Keyword)) {
			return at + 1
		}
	}
	return 0
}

// firstLastStep sums up a command's keys in the three numbers that COMMAND INFO had before key specs: those of plain
// ranges that follow one another; zeros where there is none.
func (r *Row) firstLastStep() (first, last, step int) {
	if len(r.Keys) == 1 && r.Keys[0].isRange() {
		k := &r.Keys[0]
		return k.Index, k.lastAt(), k.Step
	}
	for i := range r.Keys {
		k := &r.Keys[i]
		if !k.isRange() || k.Step != 1 || last != 0 && last != k.Index-1 {
			continue
		}
		if first == 0 {
			first = k.Index
		}
		if last >= 0 && (k.lastAt() < 0 || k.lastAt() > last) {
			last = k.lastAt()
		}
		step = 1
	}
	return first, last, step
}

func (k *KeySpec) isRange() bool { return !k.Unknown && k.Keyword == "" && k.NumKeys == nil }

// lastAt is the position of a range's last key: negative from the end of the line.
func (k *KeySpec) lastAt() int {
	if k.Last < 0 {
		return k.Last
	}
	return k.Index + k.Last
}

// findSetKeys: SET reads its key only with GET.
func findSetKeys(args [][]byte) []keyRef {
	for _, arg := range args[min(3, len(args)):] {
		if is(arg, "get") {
			return []keyRef{{1, RW | Access | Update}}
		}
	}
	return []keyRef{{1, OW | Update}}
}

// findBitFieldKeys: BITFIELD writes unless all it does is GET. What it will refuse counts as a write.
func findBitFieldKeys(args [][]byte) []keyRef {
	for i := 2; i < len(args); i++ {
		switch rest := len(args) - i - 1; {
		case is(args[i], "get") && rest >= 2:
			i += 2
		case is(args[i], "overflow") && rest >= 1:
			i++
		default:
			return []keyRef{{1, RW | Access | Update}}
		}
	}
	return []keyRef{{1, RO | Access}}
}

// findSortKeys: SORT writes where its last STORE says. The keys that BY and GET read come from the data.
func findSortKeys(args [][]byte) []keyRef {
	store := 0
	for i := 2; i < len(args); i++ {
		switch {
		case is(args[i], "limit"):
			i += 2
		case is(args[i], "get"), is(args[i], "by"):
			i++
		case is(args[i], "store") && i+1 < len(args):
			store = i + 1
		}
	}
	refs := []keyRef{{1, RO | Access}}
	if store > 0 {
		refs = append(refs, keyRef{store, OW | Update})
	}
	return refs
}

// findSortROKeys: SORT_RO has one key of its own.
func findSortROKeys([][]byte) []keyRef { return []keyRef{{1, RO | Access}} }
