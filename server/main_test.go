package server

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/neargrid/neargrid/internal/testredis"
)

// TestMain fails where goroutines are left behind.
func TestMain(m *testing.M) {
	code := m.Run()
	testredis.RemoveBinary()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			println("goroutines are left behind:", err.Error())
			code = 1
		}
	}
	os.Exit(code)
}
