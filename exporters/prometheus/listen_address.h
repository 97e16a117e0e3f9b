// ListenAddress: where the page is served, as the option `metrics.listen` says it.
//
// IPv4 only: Debian's civetweb is built without IPv6.
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace numaheap::exporters {

class ListenAddress {
 public:
  // "127.0.0.1:9464", "0.0.0.0:0", "localhost:9464". Nothing is looked up, and nothing is left out:
  // a bare port, which would listen on every interface, is not an address.
  static std::optional<ListenAddress> Parse(std::string_view text);

  // The address at which the socket `fd` listens; none if it is not a listening TCP socket.
  // Async-signal-safe.
  static std::optional<ListenAddress> OfListener(int fd);

  // Why the address can't be listened on at the moment: an errno value, 0 if it can.
  int Probe() const;

  // "127.0.0.1:9464".
  std::string ToString() const;

  ListenAddress WithPort(uint16_t port) const;

  friend bool operator==(const ListenAddress& a, const ListenAddress& b) {
    return a.socket_.sin_addr.s_addr == b.socket_.sin_addr.s_addr &&
           a.socket_.sin_port == b.socket_.sin_port;
  }

 private:
  explicit ListenAddress(const sockaddr_in& socket) : socket_(socket) {}

  sockaddr_in socket_;
};

}  // namespace numaheap::exporters
