package loadtest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

const (
	traceRequestsMax  = 1 << 26   // of a trace: it is held in memory, 8 bytes each
	traceLineMaxBytes = 64 << 10  // of a line
	traceWindowMax    = 128 << 20 // of a zstd stream
)

// ReadTrace reads a recorded sequence of keys. The file's name tells its form, and how it is compressed: .gz, .zst, .xz or not.
//
//	.lis  the ARC traces': lines "first count ignored number"; each asks for count consecutive blocks
//	.txt  one key a line: a number, or any text, which is turned into a number by a hash
//	.i64  big-endian numbers of 64 bits
func ReadTrace(path string) ([]uint64, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the trace: %w", err)
	}
	defer file.Close()
	keys, err := readTrace(filepath.Base(path), file, traceRequestsMax)
	if err != nil {
		return nil, fmt.Errorf("the trace %s: %w", path, err)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("the trace %s is empty", path)
	}
	return keys, nil
}

// readTrace reads at most max requests: more are an error.
func readTrace(name string, packed io.Reader, max int) ([]uint64, error) {
	plain, name, err := unpack(name, bufio.NewReader(packed))
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	switch filepath.Ext(name) {
	case ".lis":
		return parseBlocks(plain, max)
	case ".txt":
		return parseLines(plain, max)
	case ".i64":
		return parseNumbers(plain, max)
	}
	return nil, errors.New("its form is not known: the name ends in .lis, .txt or .i64, or in one of these and .gz, .zst or .xz")
}

// unpack undoes the compression that a name tells of, and answers the name without that.
func unpack(name string, packed io.Reader) (plain io.ReadCloser, inner string, err error) {
	ext := filepath.Ext(name)
	inner = strings.TrimSuffix(name, ext)
	switch ext {
	case ".gz":
		plain, err = gzip.NewReader(packed)
	case ".zst":
		var stream *zstd.Decoder
		if stream, err = zstd.NewReader(packed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(traceWindowMax)); err == nil {
			plain = stream.IOReadCloser()
		}
	case ".xz":
		var stream io.Reader
		if stream, err = xz.NewReader(packed); err == nil {
			plain = io.NopCloser(stream)
		}
	default:
		return io.NopCloser(packed), name, nil
	}
	return plain, inner, err
}

func tooLong(max int) error { return fmt.Errorf("it has more than %d requests", max) }

// parseBlocks reads the ARC traces' lines.
func parseBlocks(r io.Reader, max int) (keys []uint64, err error) {
	err = eachLine(r, func(line []byte) error {
		fields := bytes.Fields(line)
		if len(fields) != 4 {
			return fmt.Errorf("it has %d fields, want 4", len(fields))
		}
		first, errFirst := strconv.ParseUint(string(fields[0]), 10, 64)
		count, errCount := strconv.ParseUint(string(fields[1]), 10, 64)
		if err := errors.Join(errFirst, errCount); err != nil {
			return errors.New("first block and count must be numbers")
		}
		if count > uint64(max-len(keys)) {
			return tooLong(max)
		}
		for block := range count {
			keys = append(keys, first+block)
		}
		return nil
	})
	return keys, err
}

// parseLines reads one key a line. Empty lines are passed over.
func parseLines(r io.Reader, max int) (keys []uint64, err error) {
	err = eachLine(r, func(line []byte) error {
		line = bytes.TrimSpace(line)
		switch {
		case len(line) == 0:
			return nil
		case len(keys) == max:
			return tooLong(max)
		}
		key, err := strconv.ParseUint(string(line), 10, 64)
		if err != nil {
			key = hashText(line)
		}
		keys = append(keys, key)
		return nil
	})
	return keys, err
}

func eachLine(r io.Reader, take func(line []byte) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, traceLineMaxBytes)
	number := 0
	for lines.Scan() {
		number++
		if err := take(lines.Bytes()); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("after line %d: %w", number, err)
	}
	return nil
}

// parseNumbers reads big-endian numbers of 64 bits.
func parseNumbers(r io.Reader, max int) (keys []uint64, err error) {
	in := bufio.NewReaderSize(r, 64<<10)
	var number [8]byte
	for {
		switch _, err := io.ReadFull(in, number[:]); {
		case err == io.EOF:
			return keys, nil
		case err != nil:
			return nil, fmt.Errorf("after %d requests: %w", len(keys), err)
		case len(keys) == max:
			return nil, tooLong(max)
		}
		keys = append(keys, binary.BigEndian.Uint64(number[:]))
	}
}
