package partition

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Batch is the sealed effects of one command (or one MULTI) on one partition: what a backup applies, the log records and
// every feed carries.
type Batch struct {
	Partition int
	Seq       uint64 // counts up by one in each partition
	TimeMs    int64  // log time, ms since 1970
	// Group is shared by the batches of one transaction over GroupSize partitions; 0 for a transaction on one.
	Group     uint64
	GroupSize int
	Count     int // effects
	Effects   []byte
}

const batchVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendBatch encodes b:
//
//	1 B  version
//	     varints: partition, sequence, time in ms, group, group size, count, length of effects
//	     effects
//	4 B  CRC32C of all before
func AppendBatch(dst []byte, b Batch) []byte {
	start := len(dst)
	dst = append(dst, batchVersion)
	for _, v := range []uint64{uint64(b.Partition), b.Seq, uint64(b.TimeMs), b.Group, uint64(b.GroupSize), uint64(b.Count), uint64(len(b.Effects))} {
		dst = binary.AppendUvarint(dst, v)
	}
	dst = append(dst, b.Effects...)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// ErrBatch is what every failure to decode or apply a batch wraps.
var ErrBatch = errors.New("malformed batch")

// DecodeBatch reads one batch from the start of src and returns what follows it. Effects is a part of src.
func DecodeBatch(src []byte) (b Batch, rest []byte, err error) {
	if len(src) == 0 || src[0] != batchVersion {
		return b, src, fmt.Errorf("%w: unknown version", ErrBatch)
	}
	var head [7]uint64
	at := 1
	for i := range head {
		v, n := binary.Uvarint(src[at:])
		if n <= 0 {
			return b, src, fmt.Errorf("%w: short header", ErrBatch)
		}
		head[i], at = v, at+n
	}
	size := head[6]
	if size > uint64(len(src)-at) || len(src)-at-int(size) < 4 {
		return b, src, fmt.Errorf("%w: %d bytes of effects announced, %d there", ErrBatch, size, len(src)-at)
	}
	end := at + int(size)
	if got, want := crc32.Checksum(src[:end], castagnoli), binary.LittleEndian.Uint32(src[end:]); got != want {
		return b, src, fmt.Errorf("%w: checksum %08x, want %08x", ErrBatch, got, want)
	}
	b = Batch{
		Partition: int(head[0]), Seq: head[1], TimeMs: int64(head[2]), Group: head[3], GroupSize: int(head[4]),
		Count: int(head[5]), Effects: src[at:end],
	}
	return b, src[end+4:], nil
}
