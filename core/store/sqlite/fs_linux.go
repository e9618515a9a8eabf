package sqlite

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// checkFileSystem refuses file systems that several machines can mount: WAL needs
// memory that every process shares, and locks that work.
func checkFileSystem(folder string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(folder, &st); err != nil {
		return fmt.Errorf("cannot tell the file system of %s: %w", folder, err)
	}
	return refuseRemote(folder, uint32(st.Type))
}

func refuseRemote(folder string, magic uint32) error {
	if name := remoteFileSystem(magic); name != "" {
		return fmt.Errorf("%s is on %s, and SQLite's shared memory and locks do not work across machines: put the store on a local file system", folder, name)
	}
	return nil
}

// The magic numbers of statfs(2) that golang.org/x/sys/unix does not name.
const (
	gfs2Magic   = 0x01161970
	lustreMagic = 0x0bd00bd0
	gpfsMagic   = 0x47504653
	beegfsMagic = 0x19830326
	vboxMagic   = 0x786f4256
	vmhgfsMagic = 0xbacbacbc
	prlMagic    = 0x7c7c6673
)

// remoteFileSystem names a network, cluster or shared-folder file system; it is
// empty for all others. FUSE is one of those others: it says nothing about where
// the bytes are.
func remoteFileSystem(magic uint32) string {
	switch magic {
	case unix.NFS_SUPER_MAGIC:
		return "NFS"
	case unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC:
		return "SMB/CIFS"
	case unix.V9FS_MAGIC:
		return "9p"
	case unix.AFS_SUPER_MAGIC, unix.AFS_FS_MAGIC:
		return "AFS"
	case unix.CEPH_SUPER_MAGIC:
		return "CephFS"
	case unix.CODA_SUPER_MAGIC:
		return "Coda"
	case unix.NCP_SUPER_MAGIC:
		return "NCP"
	case unix.OCFS2_SUPER_MAGIC:
		return "OCFS2"
	case gfs2Magic:
		return "GFS2"
	case lustreMagic:
		return "Lustre"
	case gpfsMagic:
		return "GPFS"
	case beegfsMagic:
		return "BeeGFS"
	case vboxMagic, vmhgfsMagic, prlMagic:
		return "a virtual machine's shared folder"
	default:
		return ""
	}
}
