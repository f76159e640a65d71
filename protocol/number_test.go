package protocol

import "testing"

func TestParseInt(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int64
		ok   bool
	}{
		{"0", 0, true},
		{"7", 7, true},
		{"-7", -7, true},
		{"1234567890", 1234567890, true},
		{"9223372036854775807", 9223372036854775807, true},
		{"-9223372036854775808", -9223372036854775808, true},
		{"9223372036854775808", 0, false},
		{"-9223372036854775809", 0, false},
		{"9223372036854775817", 0, false},
		{"18446744073709551616", 0, false},
		{"18446744073709551617", 0, false},
		{"99999999999999999999", 0, false},
		{"100000000000000000000", 0, false},
		{"", 0, false},
		{"-", 0, false},
		{"-0", 0, false},
		{"00", 0, false},
		{"007", 0, false},
		{"-07", 0, false},
		{"+1", 0, false},
		{" 1", 0, false},
		{"1 ", 0, false},
		{"1.0", 0, false},
		{"1\x00", 0, false},
		{"0x1", 0, false},
		{"--1", 0, false},
	} {
		if got, ok := ParseInt([]byte(c.in)); got != c.want || ok != c.ok {
			t.Errorf("ParseInt(%q) = %d, %v; want %d, %v", c.in, got, ok, c.want, c.ok)
		}
	}
}

func TestParseUint(t *testing.T) {
	for _, c := range []struct {
		in   string
		want uint64
		ok   bool
	}{
		{"0", 0, true},
		{"9223372036854775808", 1 << 63, true},
		{"18446744073709551615", 1<<64 - 1, true},
		{"18446744073709551616", 0, false},
		{"99999999999999999999999", 0, false},
		{"-1", 0, false},
		{"", 0, false},
		{" ", 0, false},
		{"+", 0, false},
		{"1 ", 0, false},
		{"abc", 0, false},
		// What only strtoull takes.
		{"007", 7, true},
		{"+7", 7, true},
		{" \t7", 7, true},
		{"-0", 0, true},
		{" -1", 1<<64 - 1, true},
	} {
		if got, ok := ParseUint([]byte(c.in)); ok != c.ok || ok && got != c.want {
			t.Errorf("ParseUint(%q) = %d, %v; want %d, %v", c.in, got, ok, c.want, c.ok)
		}
	}
}

func BenchmarkParseInt(b *testing.B) {
	in := []byte("1234567890")
	for b.Loop() {
		ParseInt(in)
	}
}
