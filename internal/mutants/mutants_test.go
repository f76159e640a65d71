package main

import "testing"

// TestMutantsFit: every bug can still be planted. make mutants plants them.
func TestMutantsFit(t *testing.T) {
	t.Chdir("../..")
	mutants, err := readAll("internal/mutants/testdata")
	if err != nil {
		t.Fatal(err)
	}
	if len(mutants) < 6 {
		t.Errorf("%d mutants, want at least 6", len(mutants))
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"", "nonsense\n", "test ./server TestGate\n", "file missing.go\n-x\n",
		"test ./x X\nfile main.go\n-no such line\n+y\n", "test ./x X\nfile main.go\n", "file main.go\n-func main() {\n+\n",
	} {
		if _, err := parse(text); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}
