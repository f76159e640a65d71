package protocol

import (
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	const fold = true
	for _, c := range []struct {
		pattern, s string
		nocase     bool
		want       bool
	}{
		{"", "", false, true},
		{"", "a", false, false},
		{"*", "a", false, true},
		{"*", "", false, false}, // Redis 7.0 has it so; KEYS * takes another way
		{"***", "abc", false, true},
		{"a*", "a", false, true},
		{"a**", "a", false, true},
		{"a*b", "a", false, false},
		{"a*c", "abc", false, true},
		{"a*c", "abcd", false, false},
		{"*a*b*", "xxaxxbxx", false, true},
		{"*ab", "aab", false, true},
		{"*aab", "aaab", false, true},
		{"?", "", false, false},
		{"?", "a", false, true},
		{"h?llo", "hello", false, true},
		{"h?llo", "hllo", false, false},
		{"hello", "HELLO", false, false},
		{"hello", "HELLO", fold, true},
		{"h\xe9", "H\xe9", fold, true},
		{"\\*", "*", false, true},
		{"\\*", "a", false, false},
		{"\\a", "a", false, true},
		{"a\\", "a\\", false, true},
		{"\\", "\\", false, true},

		{"h[ae]llo", "hallo", false, true},
		{"h[ae]llo", "hillo", false, false},
		{"h[^e]llo", "hallo", false, true},
		{"h[^e]llo", "hello", false, false},
		{"h[a-c]llo", "hbllo", false, true},
		{"h[c-a]llo", "hbllo", false, true},
		{"h[a-c]llo", "hdllo", false, false},
		{"[A-C]", "b", false, false},
		{"[A-C]", "b", fold, true},
		{"[abc]", "B", fold, true},
		{"[Z-a]", "b", fold, false},
		{"[Z-a]", "z", fold, false},
		{"[\\]]", "]", false, true},
		{"[\\a-c]", "b", false, false},
		{"[\\a-c]", "-", false, true},
		{"[\\a]", "A", fold, false},
		{"[a-]", "-", false, false}, // a range from a to ], and no end
		{"[a-]", "^", false, true},
		{"[]", "]", false, false},
		{"[^]", "a", false, true},
		{"[", "[", false, false},
		{"[^", "a", false, true},
		{"[abc", "b", false, true},
		{"[abc", "d", false, false},
		{"[a-", "-", false, true},
		{"[\\", "\\", false, true},
		{"[a-z", "m", false, true},
		{"[\x7f-\x80]", "a", false, true},
		{"[a-\x80]", "b", false, false},
		{"[\x80-a]", "b", fold, false},
		{"[\x00-\xff]", "\x00", false, true},
		{"[\x00-\xff]", "a", false, false},
		{"a\x00*", "a\x00b", false, true},
	} {
		if got := Match([]byte(c.pattern), []byte(c.s), c.nocase); got != c.want {
			t.Errorf("Match(%q, %q, nocase %v) = %v, want %v", c.pattern, c.s, c.nocase, got, c.want)
		}
	}
}

func TestMatchCountsStars(t *testing.T) {
	for _, c := range []struct {
		stars int
		want  bool
	}{{1, true}, {1000, true}, {1001, false}} {
		pattern := strings.Repeat("*a", c.stars)
		s := strings.Repeat("a", c.stars)
		if got := Match([]byte(pattern), []byte(s), false); got != c.want {
			t.Errorf("%d stars: got %v, want %v", c.stars, got, c.want)
		}
		if got := Match([]byte(pattern+"*"), []byte(s), false); got != c.want {
			t.Errorf("%d stars and one at the end: got %v, want %v", c.stars, got, c.want)
		}
	}
}

// naiveMatch is the matcher one writes first: a star is tried at every place. It takes exponential time, so it gives up
// (ok is false) when steps run out.
func naiveMatch(pattern, s []byte, nocase bool, steps *int) (match, ok bool) {
	if *steps--; *steps < 0 {
		return false, false
	}
	if len(pattern) == 0 || len(s) == 0 {
		return len(pattern) == 0 && len(s) == 0, true
	}
	if pattern[0] == '*' {
		rest := strings.TrimLeft(string(pattern), "*")
		if rest == "" {
			return true, true
		}
		for i := range s {
			if match, ok := naiveMatch([]byte(rest), s[i:], nocase, steps); match || !ok {
				return match, ok
			}
		}
		return false, true
	}
	next, ok := matchByte(pattern, 0, s[0], nocase)
	if !ok {
		return false, true
	}
	if len(s) == 1 {
		return strings.Trim(string(pattern[next:]), "*") == "", true
	}
	return naiveMatch(pattern[next:], s[1:], nocase, steps)
}

func FuzzGlob(f *testing.F) {
	f.Add([]byte("a*b?[c-e]*"), []byte("axxbycz"), false)
	f.Add([]byte("*a*a*a*b"), []byte("aaaaaaaaaaaa"), true)
	f.Add([]byte("[^"), []byte("a"), false)
	f.Fuzz(func(t *testing.T, pattern, s []byte, nocase bool) {
		got := Match(pattern, s, nocase)
		steps := 100_000
		want, ok := naiveMatch(pattern, s, nocase, &steps)
		if ok && strings.Count(string(pattern), "*") <= maxGlobStars && got != want {
			t.Errorf("Match(%q, %q, nocase %v) = %v, want %v", pattern, s, nocase, got, want)
		}
	})
}

// The worst case for a matcher that tries every star at every place takes no longer than any other.
func BenchmarkMatchManyStars(b *testing.B) {
	pattern := []byte(strings.Repeat("a*", 50) + "b")
	s := []byte(strings.Repeat("a", 1000))
	for b.Loop() {
		Match(pattern, s, false)
	}
}
