package nfqueue

import (
	"encoding/binary"

	gonfqueue "github.com/florianl/go-nfqueue/v2"
	"golang.org/x/sys/unix"
)

// Configuration attributes and commands (include/uapi/linux/netfilter/nfnetlink_queue.h).
const (
	cfgAttrCmd    = 1
	cfgAttrParams = 2
	cfgAttrMaxLen = 3
	cfgAttrMask   = 4
	cfgAttrFlags  = 5

	cfgCmdBind   = 1
	cfgCmdUnbind = 2
)

// configMessage is the whole configuration in one message. nfqnl_recv_config checks the flags first, then binds, then
// sets mode and length, so that the queue never exists without a copy mode for longer than one call in the kernel.
func configMessage(c *Config) []byte {
	be := binary.BigEndian
	attr := func(b []byte, typ uint16, n int) []byte {
		b = binary.NativeEndian.AppendUint16(b, uint16(attrHeaderLen+n))
		return binary.NativeEndian.AppendUint16(b, typ)
	}
	var body []byte
	body = attr(body, cfgAttrCmd, 4)
	body = append(body, cfgCmdBind, 0, 0, unix.AF_UNSPEC)
	body = attr(body, cfgAttrParams, 5)
	body = be.AppendUint32(body, c.CopyRange)
	body = append(body, gonfqueue.NfQnlCopyPacket, 0, 0, 0)
	body = attr(body, cfgAttrMaxLen, 4)
	body = be.AppendUint32(body, c.MaxLen)
	if f := c.flags(); f != 0 {
		body = attr(body, cfgAttrMask, 4)
		body = be.AppendUint32(body, f)
		body = attr(body, cfgAttrFlags, 4)
		body = be.AppendUint32(body, f)
	}
	msg := appendHeader(nil, nlmsgHeaderLen+genmsgLen+len(body), typeConfig, unix.NLM_F_REQUEST|unix.NLM_F_ACK, 1, c.Number)
	return append(msg, body...)
}

// commandMessage is a configuration of one command, without an acknowledgement.
func commandMessage(queue uint16, cmd byte) []byte {
	msg := appendHeader(nil, nlmsgHeaderLen+genmsgLen+attrHeaderLen+4, typeConfig, unix.NLM_F_REQUEST, 1, queue)
	msg = binary.NativeEndian.AppendUint16(msg, attrHeaderLen+4)
	msg = binary.NativeEndian.AppendUint16(msg, cfgAttrCmd)
	return append(msg, cmd, 0, 0, unix.AF_UNSPEC)
}
