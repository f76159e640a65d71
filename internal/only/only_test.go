package only

import (
	"slices"
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	all := []string{"SET", "GET", "MGET"}
	name := func(s string) string { return s }
	for pattern, want := range map[string][]string{"^[SG]ET$": {"SET", "GET"}, "": all, "M": {"MGET"}} {
		if got, err := Choose(all, name, "point", pattern); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v, want %v", pattern, got, err, want)
		}
	}
	for pattern, want := range map[string]string{"no such": "matches no point; there are: SET, GET, MGET", "(": "-only: error parsing"} {
		if got, err := Choose(all, name, "point", pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v, want the error %q", pattern, got, err, want)
		}
	}
}
