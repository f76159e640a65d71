// Package traces reads recorded sequences of cache requests. testdata/traces/README.md says where they come from.
package traces

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// Read answers the requests of a trace, a number for each key. The file's name says what is in it: .lis.zst the ARC format,
// .i64.xz keys of 64 bits, .txt.gz a key a line.
func Read(path string) ([]int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	requests, err := read(path, bufio.NewReader(f))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return requests, nil
}

func read(path string, r io.Reader) ([]int64, error) {
	switch {
	case strings.HasSuffix(path, ".lis.zst"):
		plain, err := zstd.NewReader(r)
		if err != nil {
			return nil, err
		}
		defer plain.Close()
		return parseARC(plain)
	case strings.HasSuffix(path, ".i64.xz"):
		plain, err := xz.NewReader(r)
		if err != nil {
			return nil, err
		}
		return parseBinary(plain)
	case strings.HasSuffix(path, ".txt.gz"):
		plain, err := gzip.NewReader(r)
		if err != nil {
			return nil, err
		}
		return parseLines(plain)
	}
	return nil, errors.New("no known kind of trace: want .lis.zst, .i64.xz or .txt.gz")
}

// parseARC reads lines of first block, count, an ignored field and the request's number. Each line requests count
// consecutive blocks.
func parseARC(r io.Reader) ([]int64, error) {
	var requests []int64
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) != 4 {
			return nil, fmt.Errorf("line %d has %d fields, want 4: %q", n, len(fields), lines.Text())
		}
		first, errFirst := strconv.ParseInt(fields[0], 10, 64)
		count, errCount := strconv.ParseInt(fields[1], 10, 64)
		if err := errors.Join(errFirst, errCount); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		for block := range count {
			requests = append(requests, first+block)
		}
	}
	return requests, lines.Err()
}

// parseBinary reads big-endian numbers of 64 bits.
func parseBinary(r io.Reader) ([]int64, error) {
	var requests []int64
	for in := bufio.NewReader(r); ; {
		var key [8]byte
		switch _, err := io.ReadFull(in, key[:]); err {
		case nil:
			requests = append(requests, int64(binary.BigEndian.Uint64(key[:])))
		case io.EOF:
			return requests, nil
		default:
			return nil, fmt.Errorf("after %d requests: %w", len(requests), err)
		}
	}
}

// parseLines reads a number a line; empty lines do not count.
func parseLines(r io.Reader) ([]int64, error) {
	var requests []int64
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" {
			continue
		}
		key, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		requests = append(requests, key)
	}
	return requests, lines.Err()
}
