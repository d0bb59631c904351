package fastpath

import (
	"fmt"
	"os"
	"testing"
)

// children are what a test runs in a process of its own: the test's binary again, with this variable set to the key. They print what
// the test compares, and end with status 1 for an error of their own.
const childVariable = "FASTPATH_TEST_CHILD"

var children = map[string]func() error{}

func TestMain(m *testing.M) {
	if fn := children[os.Getenv(childVariable)]; fn != nil {
		if err := fn(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
