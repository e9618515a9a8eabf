package doctor

import (
	"errors"
	"testing"
)

func TestProcess(t *testing.T) {
	expect(t, "process", []Finding{
		Dumps(true, nil), Dumps(false, nil), Dumps(false, errors.ErrUnsupported), Dumps(false, errors.New("prctl: not permitted")),
		FIPS(true), FIPS(false),
		Sockets("/tmp", nil), Sockets("", errors.New("no place for a plugin's socket")),
	}, `
ok process.dumps [] no core files, and no debugger of the same user
warn process.dumps [] core files, or debuggers of the same user, get at the memory of this process
  -> have the service call secret.ForbidDumps when it starts, or limit core files (`+"`ulimit -c 0`"+`)
skipped process.dumps [] this system does not tell
warn process.dumps [] prctl: not permitted
  -> look whether the system lets a process forbid core dumps
ok process.fips [] FIPS 140 mode is on
ok process.fips [] FIPS 140 mode is off (GODEBUG=fips140=on turns it on)
ok process.sockets [/tmp] plugins' sockets have room there
fail process.sockets [] no place for a plugin's socket
  -> set TMPDIR to a folder with a short path that this user may write
`)
}
