package hugepage

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// modeFile says to whom Linux gives huge pages: "always [madvise] never", with brackets around the one that holds.
const modeFile = "/sys/kernel/mm/transparent_hugepage/enabled"

// without is what follows where there are none.
const without = "connection tables lie on small pages: nothing is missing but speed, a look-up among millions of connections takes up to half as long again"

// Probe asks to whom the kernel gives huge pages, as a check of the doctor: its name, whether connection tables get any, what was found and, if
// not, what follows. It leaves nothing behind.
func Probe() (name string, ok bool, found, means string) {
	const check = "huge pages"
	b, err := os.ReadFile(modeFile)
	if err != nil {
		return check, false, fmt.Sprintf("none: %v", err), without
	}
	if off, _ := unix.PrctlRetInt(unix.PR_GET_THP_DISABLE, 0, 0, 0, 0); off != 0 {
		return check, false, "switched off for this process (PR_SET_THP_DISABLE)", without
	}
	ok, found = judge(string(b))
	if !ok {
		return check, false, found, without + "; to have them: echo madvise > " + modeFile
	}
	base, err := reserve()
	if err != nil {
		return check, false, err.Error(), without
	}
	_ = unix.MunmapPtr(base, regionSize)
	return check, true, found, ""
}

// judge says what the text of modeFile means for who asks for huge pages.
func judge(text string) (ok bool, found string) {
	_, mode, _ := strings.Cut(text, "[")
	mode, _, _ = strings.Cut(mode, "]")
	switch mode {
	case "always":
		return true, "always: everyone gets them"
	case "madvise":
		return true, "madvise: those who ask get them; connection tables of more than some ten thousand connections do"
	case "never":
		return false, "never"
	}
	return false, fmt.Sprintf("no word that is known: %q", strings.TrimSpace(text))
}
