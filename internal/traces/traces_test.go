package traces

import (
	"io"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name  string
		parse func(io.Reader) ([]int64, error)
		text  string
		want  []int64 // nil for an error
	}{
		{"a block a line", parseARC, "1 1 0 0\n2 1 0 1\n1 1 0 2\n", []int64{1, 2, 1}},
		{"consecutive blocks", parseARC, "10 3 0 0\n7 1 0 3\n", []int64{10, 11, 12, 7}},
		{"no newline at the end", parseARC, "5 1 0 0", []int64{5}},
		{"a field short", parseARC, "1 1 0\n", nil},
		{"not a number", parseARC, "x 1 0 0\n", nil},
		{"two keys", parseBinary, "\x00\x00\x00\x00\x00\x00\x01\x02\xff\xff\xff\xff\xff\xff\xff\xff", []int64{258, -1}},
		{"cut off", parseBinary, "\x00\x00\x00\x00\x00\x00\x01\x02\xff", nil},
		{"a key a line", parseLines, "3\n1\n3\n", []int64{3, 1, 3}},
		{"an empty line", parseLines, "3\n\n", []int64{3}},
		{"no number", parseLines, "3\n*\n", nil},
	} {
		got, err := c.parse(strings.NewReader(c.text))
		if !slices.Equal(got, c.want) || (err == nil) != (c.want != nil) {
			t.Errorf("%s: %q gives %v, %v, want %v", c.name, c.text, got, err, c.want)
		}
	}
}

func TestRead(t *testing.T) {
	for _, c := range []struct {
		file                 string
		requests, keys       int
		firstThree, lastOnes []int64
	}{
		{"gli.txt.gz", 6015, 2529, []int64{0, 1, 1}, []int64{2526, 2527, 2528}},
		{"oltp.lis.zst", 914145, 186880, []int64{1, 2, 3}, []int64{36443, 36443, 186880}},
		{"scarab-recs.i64.xz", 1245184, 258368, []int64{8756849942801480528, -6928615059174207924, -6957184379736119503},
			[]int64{-1715966334467153976, -2959115426666489794, -3763297499971232417}},
	} {
		requests, err := Read("../../testdata/traces/" + c.file)
		if err != nil {
			t.Error(err)
			continue
		}
		keys := map[int64]bool{}
		for _, k := range requests {
			keys[k] = true
		}
		if len(requests) != c.requests || len(keys) != c.keys || !slices.Equal(requests[:3], c.firstThree) ||
			!slices.Equal(requests[len(requests)-3:], c.lastOnes) {
			t.Errorf("%s: %d requests for %d keys, %v ... %v, want %d for %d, %v ... %v", c.file, len(requests), len(keys),
				requests[:3], requests[len(requests)-3:], c.requests, c.keys, c.firstThree, c.lastOnes)
		}
	}
	if _, err := Read("traces.go"); err == nil {
		t.Error("a Go file was read as a trace")
	}
	if _, err := Read("missing.txt.gz"); err == nil {
		t.Error("a file that is not there was read")
	}
}
