package cluster

import "testing"

// BenchmarkPacket seals a beacon and opens it.
func BenchmarkPacket(b *testing.B) {
	from, to := identity("a").Member, identity("b").Member
	payload := make([]byte, 17)
	var packet []byte
	b.ReportAllocs()
	for b.Loop() {
		packet = rightKeys.Seal(packet[:0], PacketBeacon, from, to, payload)
		if _, _, _, err := rightKeys.Open(packet, to); err != nil {
			b.Fatal(err)
		}
	}
}
