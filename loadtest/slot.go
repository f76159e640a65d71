package loadtest

import "bytes"

// slotOf is a key's hash slot: CRC16 of the key, or of the part between the first { and the next } where that is not empty.
// Source: Redis Cluster specification, "Hash tags".
func slotOf(key []byte) int {
	if open := bytes.IndexByte(key, '{'); open >= 0 {
		if n := bytes.IndexByte(key[open+1:], '}'); n > 0 {
			key = key[open+1 : open+1+n]
		}
	}
	var crc uint16
	for _, b := range key {
		crc = crc<<8 ^ crcTable[byte(crc>>8)^b]
	}
	return int(crc) % slots
}

// crcTable is that of CRC-16/XMODEM: x^16 + x^12 + x^5 + 1.
var crcTable = func() (table [256]uint16) {
	for b := range table {
		crc := uint16(b) << 8
		for range 8 {
			carry := crc & 0x8000
			crc <<= 1
			if carry != 0 {
				crc ^= 0x1021
			}
		}
		table[b] = crc
	}
	return table
}()
