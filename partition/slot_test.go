package partition

import "testing"

func TestSlot(t *testing.T) {
	for _, c := range []struct {
		key  string
		want int
	}{
		{"", 0}, {"123456789", 0x31C3}, {"foo", 12182}, {"bar", 5061}, {"hello", 866}, // CLUSTER KEYSLOT of a real server
		{"{foo}bar", 12182}, {"a{foo}bar", 12182}, {"foo{}{bar}", 8363}, {"foo{{bar}}zap", 4015}, {"foo{bar}{zap}", 5061},
	} {
		if got := Slot([]byte(c.key)); got != c.want {
			t.Errorf("Slot(%q): got %d, want %d", c.key, got, c.want)
		}
	}
}

func BenchmarkSlot(b *testing.B) {
	key := []byte("key:000000001234")
	for b.Loop() {
		Slot(key)
	}
}
