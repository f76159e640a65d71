package protocol

import (
	"math"
	"strings"
	"testing"
)

func TestParseFloat(t *testing.T) {
	inf := math.Inf(1)
	for _, c := range []struct {
		in   string
		want float64
	}{
		{"0", 0}, {"1", 1}, {"-1", -1}, {"+1", 1}, {"007", 7}, {"1.", 1}, {".5", .5}, {"-.5e1", -5},
		{"1e3", 1000}, {"1E+3", 1000}, {"1e-3", .001}, {"0e999999", 0},
		{"9007199254740993", 9007199254740992},
		{"0x10", 16}, {"0X.8", .5}, {"0x1.8p3", 12}, {"-0x1p-1", -.5},
		{"inf", inf}, {"+Inf", inf}, {"-INFINITY", -inf}, {"iNfinity", inf},
		{"4.9e-324", math.SmallestNonzeroFloat64},
		{"1.7976931348623158e308", math.MaxFloat64},
	} {
		if got, ok := ParseFloat([]byte(c.in)); !ok || got != c.want {
			t.Errorf("ParseFloat(%q) = %v, %v; want %v", c.in, got, ok, c.want)
		}
	}
	if got, ok := ParseFloat([]byte("-0")); !ok || got != 0 || !math.Signbit(got) {
		t.Errorf("ParseFloat(-0) = %v, %v; want -0", got, ok)
	}
}

var notFloats = []string{
	"", " ", " 1", "1 ", "+", "-", ".", "e1", "1e", "1e+", "1e1.5", "abc", "1a", "1_0", "0x", "0x.", "0x1p", "0x1_0", "1p5",
	"0b1", "0o7", "nan", "NaN", "-nan", "nan(1)", "infi", "in", "--1", "+-1", "1\x00", "1..2", "1,5",
}

func TestParseFloatRefuses(t *testing.T) {
	for _, in := range append(notFloats, "1e309", "-1e309", "0x1p1024", "1e-400", "2e-324", "1e99999999999999999999") {
		if got, ok := ParseFloat([]byte(in)); ok {
			t.Errorf("ParseFloat(%q) = %v, want none", in, got)
		}
	}
}

func TestAppendFloat(t *testing.T) {
	for _, c := range []struct {
		f     float64
		want  string
		orInt string // where AppendFloatOrInt differs
	}{
		{0, "0", ""},
		{math.Copysign(0, -1), "-0", ""},
		{1, "1", ""},
		{-17, "-17", ""},
		{0.1, "0.10000000000000001", ""},
		{3.5, "3.5", ""},
		{1e15, "1000000000000000", ""},
		{9007199254740993, "9007199254740992", ""},
		{1e16, "10000000000000000", ""},
		{1e17, "1e+17", "100000000000000000"},
		{1 << 62, "4.6116860184273879e+18", "4611686018427387904"},
		{1 << 63, "9.2233720368547758e+18", ""},
		{0.0001, "0.0001", ""},
		{0.00001, "1.0000000000000001e-05", ""},
		{1e100, "1e+100", ""},
		{math.MaxFloat64, "1.7976931348623157e+308", ""},
		{math.Inf(1), "inf", ""},
		{math.Inf(-1), "-inf", ""},
		{math.NaN(), "nan", ""},
		{math.Copysign(math.NaN(), -1), "-nan", "nan"},
	} {
		if got := string(AppendFloat(nil, c.f)); got != c.want {
			t.Errorf("AppendFloat(%v) = %s, want %s", c.f, got, c.want)
		}
		want := c.orInt
		if want == "" {
			want = c.want
		}
		if got := string(AppendFloatOrInt(nil, c.f)); got != want {
			t.Errorf("AppendFloatOrInt(%v) = %s, want %s", c.f, got, want)
		}
	}
}

func TestLongDouble(t *testing.T) {
	for _, c := range []struct{ x, y, want string }{
		{"5100", "0.1", "5100.10000000000000009"},
		{"0.1", "0.2", "0.3"},
		{"3.0e3", "200", "3200"},
		{"10.5", "-10.5", "0"},
		{"-0", "-0", "0"},
		{"1", "-1.00000000000000000001", "0"},
		{"1.5", "0x1.8p1", "4.5"},
		{"-5", "0", "-5"},
		{"100", "0", "100"},
		{"1e18", "0.5", "1000000000000000000.5"},
		{"9223372036854775807", "1", "9223372036854775808"},
		{"0", "1e-4940", "0"},
		{"1e4932", "1e4932", "overflow"},
		{"inf", "1", "overflow"},
		{"inf", "-inf", "overflow"},
	} {
		x, okX := ParseLongDouble([]byte(c.x))
		y, okY := ParseLongDouble([]byte(c.y))
		if !okX || !okY {
			t.Errorf("%s (%v) or %s (%v) was refused", c.x, okX, c.y, okY)
			continue
		}
		got := "overflow"
		if sum, ok := AddLongDouble(x, y); ok {
			got = string(AppendLongDouble(nil, sum))
		}
		if got != c.want {
			t.Errorf("%s + %s = %s, want %s", c.x, c.y, got, c.want)
		}
	}
	for in, want := range map[string]string{"inf": "inf", "-Infinity": "-inf", "3.00": "3"} {
		x, ok := ParseLongDouble([]byte(in))
		if !ok || string(AppendLongDouble([]byte("x"), x)) != "x"+want {
			t.Errorf("%s: got %v, %v; want %s", in, x, ok, want)
		}
	}
}

// Texts that would keep a decimal converter busy for minutes are refused at once.
func TestParseLongDoubleRefuses(t *testing.T) {
	for _, in := range append(notFloats, "2e4932", "1e5000", "-1e5000", "1.8e-4951", "1e-5000", "0x1p16384",
		"1e1000000000", "1e-1000000000", "0x1p-99999999999999999999", strings.Repeat("1", maxLongDoubleBytes)) {
		if got, ok := ParseLongDouble([]byte(in)); ok {
			t.Errorf("ParseLongDouble(%.40q) = %v, want none", in, got)
		}
	}
}

func BenchmarkFloat(b *testing.B) {
	b.Run("ParseFloat", func(b *testing.B) {
		for b.Loop() {
			ParseFloat([]byte("12345.678"))
		}
	})
	b.Run("ParseFloat, integral", func(b *testing.B) {
		for b.Loop() {
			ParseFloat([]byte("12345"))
		}
	})
}
