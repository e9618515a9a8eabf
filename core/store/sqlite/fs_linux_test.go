package sqlite

import (
	"strings"
	"testing"
)

func TestRemoteFileSystems(t *testing.T) {
	for magic, name := range map[uint32]string{ // from statfs(2)
		0x6969: "NFS", 0x517b: "SMB/CIFS", 0xff534d42: "SMB/CIFS", 0xfe534d42: "SMB/CIFS", 0x01021997: "9p",
		0x5346414f: "AFS", 0x6b414653: "AFS", 0x00c36400: "CephFS", 0x73757245: "Coda", 0x7461636f: "OCFS2",
		0x01161970: "GFS2", 0x0bd00bd0: "Lustre", 0x47504653: "GPFS", 0x19830326: "BeeGFS",
		0xef53: "", 0x58465342: "", 0x9123683e: "", 0x01021994: "", 0x794c7630: "", 0x65735546: "",
	} {
		err := refuseRemote("/srv/keys", magic)
		if name == "" && err != nil {
			t.Errorf("%#x: %v", magic, err)
		}
		if name != "" && (err == nil || !strings.Contains(err.Error(), "/srv/keys is on "+name+", and ")) {
			t.Errorf("%#x: %v, want it to name %s", magic, err, name)
		}
	}
	if err := checkFileSystem("/does/not/exist"); err == nil {
		t.Error("a folder that does not exist has a file system")
	}
}
