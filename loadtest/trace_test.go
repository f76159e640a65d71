package loadtest

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

func TestTraceForms(t *testing.T) {
	numbers := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, 1), 1<<63)
	for _, c := range []struct {
		name, content string
		want          []uint64 // nil for an error
	}{
		{"a.lis", "1 1 0 0\n2 1 0 1\n1 1 0 2\n", []uint64{1, 2, 1}},
		{"consecutive.lis", "10 3 0 0\n7 1 0 3\n", []uint64{10, 11, 12, 7}},
		{"no-end.lis", "5 1 0 0", []uint64{5}},
		{"dos.lis", "5 1 0 0\r\n6 1 0 1\r\n", []uint64{5, 6}},
		{"short.lis", "1 1 0\n", nil},
		{"word.lis", "x 1 0 0\n", nil},
		{"below-zero.lis", "-1 1 0 0\n", nil},
		{"endless.lis", "1 18446744073709551615 0 0\n", nil},
		{"long-line.lis", strings.Repeat("1", traceLineMaxBytes+1), nil},
		{"a.txt", "7\n\n 8 \n7\n", []uint64{7, 8, 7}},
		{"words.txt", "key\nother\nkey\n", []uint64{hashText([]byte("key")), hashText([]byte("other")), hashText([]byte("key"))}},
		{"a.i64", string(numbers), []uint64{1, 1 << 63}},
		{"cut.i64", string(numbers[:12]), nil},
		{"a.csv", "1\n", nil},
		{"a", "1\n", nil},
	} {
		for ext, pack := range packers {
			got, err := readTrace(c.name+ext, bytes.NewReader(pack(t, c.content)), traceRequestsMax)
			if !slices.Equal(got, c.want) || (err == nil) != (c.want != nil) {
				t.Errorf("%s%s: %v, %v, want %v", c.name, ext, got, err, c.want)
			}
		}
	}
}

var packers = map[string]func(*testing.T, string) []byte{
	"":     func(_ *testing.T, text string) []byte { return []byte(text) },
	".gz":  packWith(func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }),
	".zst": packWith(func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }),
	".xz":  packWith(func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) }),
}

func packWith(open func(io.Writer) (io.WriteCloser, error)) func(*testing.T, string) []byte {
	return func(t *testing.T, text string) []byte {
		t.Helper()
		var packed bytes.Buffer
		w, err := open(&packed)
		if err == nil {
			_, err = io.WriteString(w, text)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		return packed.Bytes()
	}
}

func TestReadTraceMistakes(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"empty.txt": "", "no.lis.gz": "not gzip", "no.lis.zst": "not zstd", "no.i64.xz": "not xz", "bad.lis": "1 1 0 0\nx\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := ReadTrace(path)
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want an error that names the file", name, err)
		}
		if name == "bad.lis" && !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%s: %v, want it to name line 2", name, err)
		}
	}
	if _, err := ReadTrace(filepath.Join(dir, "none.txt")); err == nil {
		t.Error("a file that is not there: no error")
	}
}

// The recorded traces have as many requests as their README says, which counts an empty line at the end of gli.
func TestRecordedTraces(t *testing.T) {
	for name, want := range map[string]int{"oltp.lis.zst": 914_145, "p3.lis.zst": 3_912_296, "scarab-recs.i64.xz": 1_245_184, "gli.txt.gz": 6_015} {
		if testing.Short() && want > 1_000_000 {
			continue
		}
		keys, err := ReadTrace("../testdata/traces/" + name)
		if err != nil || len(keys) != want {
			t.Errorf("%s: %d requests, %v, want %d", name, len(keys), err, want)
		}
	}
}

// No input makes the parsers fail in another way than with an error, and what they read they would read again.
func FuzzTrace(f *testing.F) {
	f.Add("a.lis", []byte("10 3 0 0\n7 1 0 3\n"))
	f.Add("a.txt", []byte("7\nkey\n"))
	f.Add("a.i64", []byte("\x00\x00\x00\x00\x00\x00\x00\x01"))
	f.Add("a.txt.gz", []byte("\x1f\x8b"))
	const max = 1 << 12
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		if ext := filepath.Ext(name); ext == ".xz" || ext == ".zst" {
			return // these libraries' own memory is theirs to bound
		}
		keys, err := readTrace(name, bytes.NewReader(content), max)
		if err != nil || filepath.Ext(name) == ".gz" {
			return
		}
		if len(keys) > max {
			t.Fatalf("%d requests", len(keys))
		}
		var again []byte
		for _, key := range keys {
			again = binary.BigEndian.AppendUint64(again, key)
		}
		if got, err := parseNumbers(bytes.NewReader(again), max); err != nil || !slices.Equal(got, keys) {
			t.Fatalf("%v was read again as %v, %v", keys, got, err)
		}
	})
}
