package client

import "strings"

// slots is how many slots keys are spread over, as in Redis Cluster.
const slots = 16384

// Slot returns the slot of a key: CRC16 of the key, or of what stands between its first "{" and the next "}" where that is not
// empty, modulo 16384. Keys of one slot are on one node, always.
func Slot(key string) int {
	if open := strings.IndexByte(key, '{'); open >= 0 {
		if length := strings.IndexByte(key[open+1:], '}'); length > 0 {
			key = key[open+1 : open+1+length]
		}
	}
	crc := uint16(0)
	for i := range len(key) {
		crc = crc<<8 ^ crcTable[byte(crc>>8)^key[i]]
	}
	return int(crc % slots)
}

// crcTable is that of CRC16-XMODEM: polynomial 0x1021, no reflection.
var crcTable = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
		table[i] = crc
	}
	return table
}()
