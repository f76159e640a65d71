package partition

import (
	"bytes"
	"math/bits"
)

// Slots is the number of hash slots, as in Redis Cluster.
const Slots = 16384

// Slot is a key's hash slot: CRC16 of the key, or of the part between the first { and the next } where that is not empty.
// Source: Redis Cluster specification, "Hash tags".
func Slot(key []byte) int {
	if open := bytes.IndexByte(key, '{'); open >= 0 {
		if n := bytes.IndexByte(key[open+1:], '}'); n > 0 {
			key = key[open+1 : open+1+n]
		}
	}
	return int(crc16(key)) % Slots
}

// crc16Tables[k][b] is the CRC of byte b followed by k zero bytes; four bytes are folded at a time.
var crc16Tables = func() (t [4][256]uint16) {
	for b := range 256 {
		crc := uint16(b) << 8
		for range 8 {
			carry := crc & 0x8000
			crc <<= 1
			if carry != 0 {
				crc ^= 0x1021 // XMODEM: x^16 + x^12 + x^5 + 1
			}
		}
		t[0][b] = crc
	}
	for k := 1; k < 4; k++ {
		for b := range 256 {
			prev := t[k-1][b]
			t[k][b] = prev<<8 ^ t[0][prev>>8]
		}
	}
	return t
}()

func crc16(p []byte) uint16 {
	var crc uint16
	for len(p) >= 4 {
		crc = crc16Tables[3][byte(crc>>8)^p[0]] ^ crc16Tables[2][byte(crc)^p[1]] ^
			crc16Tables[1][p[2]] ^ crc16Tables[0][p[3]]
		p = p[4:]
	}
	for _, b := range p {
		crc = crc<<8 ^ crc16Tables[0][byte(crc>>8)^b]
	}
	return crc
}

// slotShift turns a slot into a partition: partitions are equal, contiguous ranges of slots.
func slotShift(partitions int) uint { return uint(bits.Len(Slots/uint(partitions)) - 1) }
