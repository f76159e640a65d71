package server

import (
	"fmt"
	"strings"
	"testing"
)

// TestKeySpecs finds keys by every kind of spec. want marks the keys by their words; "-" = the line is refused.
func TestKeySpecs(t *testing.T) {
	tests := []struct {
		name string
		keys []KeySpec
		line string
		want string
	}{
		{"one", keys(1, 1, 1, RO), "get a", "a"},
		{"one, further on", keys(2, 2, 1, RO), "object encoding a", "a"},
		{"to the end", keys(1, -1, 1, RO), "del a b c", "a b c"},
		{"up to the last but one", keys(1, -2, 1, RO), "blpop a b 0", "a b"},
		{"every second", keys(1, -1, 2, OW), "mset a 1 b 2", "a b"},
		{"every second, value missing", keys(1, -1, 2, OW), "mset a 1 b", "a b"},
		{"from nothing", keys(2, -1, 1, RO), "bitop x", "-"},
		{"behind the end", keys(1, 1, 1, RO), "get", "-"},
		{"two specs", []KeySpec{keyAt(1, OW), keysFrom(2, RO)}, "sdiffstore d a b", "d a b"},
		{"two specs, one without keys", []KeySpec{keyAt(1, OW), keysFrom(2, RO)}, "sdiffstore d", "-"},

		{"counted", []KeySpec{keysCounted(1, RO)}, "zunion 2 a b withscores", "a b"},
		{"counted, to the end", []KeySpec{keysCounted(1, RO)}, "zunion 2 a b", "a b"},
		{"counted, too many", []KeySpec{keysCounted(1, RO)}, "zunion 3 a b", "-"},
		{"counted, none", []KeySpec{keysCounted(1, RO)}, "zunion 0 a", "-"},
		{"counted, negative", []KeySpec{keysCounted(1, RO)}, "zunion -1 a", "-"},
		{"counted, no number", []KeySpec{keysCounted(1, RO)}, "zunion x a", "-"},
		{"counted, huge", []KeySpec{keysCounted(1, RO)}, "zunion 9223372036854775807 a", "-"},
		{"counted, count missing", []KeySpec{keysCounted(1, RO)}, "zunion", "-"},
		{"counted behind a destination", []KeySpec{keyAt(1, OW), keysCounted(2, RO)}, "zunionstore d 1 a weights 2", "d a"},

		{"behind a keyword", []KeySpec{{Keyword: "STREAMS", From: 1, Last: -1, Step: 1, Limit: 2}},
			"xread count 2 streams a b 0 0", "a b"},
		{"half of a line that is odd", []KeySpec{{Keyword: "STREAMS", From: 1, Last: -1, Step: 1, Limit: 2}},
			"xread streams a b 0", "a"},
		{"no keyword", []KeySpec{{Keyword: "STREAMS", From: 1, Last: -1, Step: 1, Limit: 2}}, "xread a b", "-"},
		{"keyword from the end", []KeySpec{{Keyword: "KEYS", From: -2, Last: -1, Step: 1}},
			"migrate keys 80 x 0 9 keys a b", "a b"},
		{"keyword from the end, not found", []KeySpec{{Keyword: "KEYS", From: -2, Last: -1, Step: 1}}, "migrate keys 80 a 0 9", "-"},

		{"keyword left out", []KeySpec{keyAt(1, RO), {Keyword: "STORE", From: 6, Step: 1}}, "georadius a 1 2 3 km asc", "a"},
		{"keyword given", []KeySpec{keyAt(1, RO), {Keyword: "STORE", From: 6, Step: 1}}, "georadius a 1 2 3 km store d", "a d"},
		{"keyword without its key", []KeySpec{keyAt(1, RO), {Keyword: "STORE", From: 6, Step: 1}}, "georadius a 1 2 3 km store", "a"},

		{"no keys", []KeySpec{{Flags: NotKey, Index: 1, Last: 0, Step: 1}}, "spublish ch m", "-"},
		{"unknown", []KeySpec{keysUnknown(RO)}, "sort a", "-"},
	}
	for _, tt := range tests {
		row := &Row{Keys: tt.keys}
		args := words(tt.line)
		refs, ok := row.keyRefs(args)
		got := "-"
		if ok {
			at := make([]int, len(refs))
			for i, ref := range refs {
				at[i] = ref.at
			}
			got = pick(args, at)
		}
		if got != tt.want {
			t.Errorf("%s: keyRefs of %q: got %q, want %q", tt.name, tt.line, got, tt.want)
		}
		// What is locked is at least that.
		if locked := pick(args, row.keyPositions(nil, args)); ok && locked != tt.want {
			t.Errorf("%s: keyPositions of %q: got %q, want %q", tt.name, tt.line, locked, tt.want)
		}
	}
}

// TestKeyPositionsOfBrokenLines: a spec that does not fit a line must not hide the keys of those that do.
func TestKeyPositionsOfBrokenLines(t *testing.T) {
	row := &Row{Keys: []KeySpec{keyAt(1, OW), keysCounted(2, RO)}}
	args := words("zunionstore d 7 a b")
	if got, want := pick(args, row.keyPositions(nil, args)), "d"; got != want {
		t.Errorf("keyPositions of %q: got %q, want %q", args, got, want)
	}
}

func TestFindKeys(t *testing.T) {
	tests := []struct {
		find func([][]byte) []keyRef
		line string
		want string
	}{
		{findSortKeys, "sort a", "a=RO|access"},
		{findSortKeys, "sort a store d", "a=RO|access d=OW|update"},
		{findSortKeys, "sort a store d STORE e", "a=RO|access e=OW|update"},
		{findSortKeys, "sort a by store get store limit store store", "a=RO|access"},
		{findSortKeys, "sort a limit 0 5 alpha store d", "a=RO|access d=OW|update"},
		{findSortKeys, "sort a store", "a=RO|access"},
		{findSortROKeys, "sort_ro a store d", "a=RO|access"},
		{findSetKeys, "set a v", "a=OW|update"},
		{findSetKeys, "set a get", "a=OW|update"},
		{findSetKeys, "set a v GET", "a=RW|access|update"},
		{findBitFieldKeys, "bitfield a", "a=RO|access"},
		{findBitFieldKeys, "bitfield a overflow wrap get u8 0", "a=RO|access"},
		{findBitFieldKeys, "bitfield a get u8 0 set u8 0 1", "a=RW|access|update"},
		{findBitFieldKeys, "bitfield a nonsense", "a=RW|access|update"},
	}
	for _, tt := range tests {
		args := words(tt.line)
		var got []string
		for _, ref := range tt.find(args) {
			var flags []string
			for i, name := range keyFlagNames {
				if ref.flags&(1<<i) != 0 {
					flags = append(flags, name)
				}
			}
			got = append(got, fmt.Sprintf("%s=%s", args[ref.at], strings.Join(flags, "|")))
		}
		if got := strings.Join(got, " "); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.line, got, tt.want)
		}
	}
}

func TestKeyPositionsDoesNotAllocate(t *testing.T) {
	dst := make([]int, 0, 16)
	for _, tt := range []struct {
		row  *Row
		line string
	}{
		{&Row{Keys: keys(1, -1, 2, OW)}, "mset a 1 b 2 c 3"},
		{&Row{Keys: []KeySpec{keyAt(1, OW), keysCounted(2, RO)}}, "zunionstore d 2 a b"},
	} {
		args := words(tt.line)
		if n := testing.AllocsPerRun(100, func() { dst = tt.row.keyPositions(dst[:0], args) }); n > 0 {
			t.Errorf("keyPositions of %q: %v allocations, want none", tt.line, n)
		}
	}
}

func words(line string) [][]byte {
	var args [][]byte
	for _, word := range strings.Fields(line) {
		args = append(args, []byte(word))
	}
	return args
}

func pick(args [][]byte, at []int) string {
	var picked []string
	for _, i := range at {
		picked = append(picked, string(args[i]))
	}
	return strings.Join(picked, " ")
}
