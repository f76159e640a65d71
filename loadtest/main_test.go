package loadtest

import (
	"os"
	"testing"

	"github.com/neargrid/neargrid/internal/testredis"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := m.Run()
	testredis.RemoveBinary()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			println("goroutines are left:", err.Error())
			code = 1
		}
	}
	os.Exit(code)
}
