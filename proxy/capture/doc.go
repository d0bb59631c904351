// Package capture reads and writes packet captures and takes them from an interface.
//
//   - [Writer] writes pcapng with per-packet options (comment, direction, packet id, queue), which gopacket's NgWriter cannot
//     write; Wireshark shows them as frame.comment, frame.packet_flags_direction, frame.packet_id.
//   - [Reader] reads pcap and pcapng (with the per-packet options), plain or gzip-compressed.
//   - [IP] takes the IP packet out of a frame of any supported link type.
//   - [Sniffer] records what an interface of the current network namespace receives and sends.
//
// Format: draft-ietf-opsawg-pcapng; link types: https://www.tcpdump.org/linktypes.html.
package capture
