#include "exporters/prometheus/listen_address.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

namespace numaheap::exporters {
namespace {

const sockaddr* Generic(const sockaddr_in* socket) {
  return reinterpret_cast<const sockaddr*>(socket);
}

}  // namespace

std::optional<ListenAddress> ListenAddress::Parse(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string host(text.substr(0, colon));
  if (host == "localhost") host = "127.0.0.1";
  const std::string_view port = text.substr(colon + 1);

  sockaddr_in socket{};
  socket.sin_family = AF_INET;
  if (inet_pton(AF_INET, host.c_str(), &socket.sin_addr) != 1) return std::nullopt;
  uint16_t number;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc() || end != port.data() + port.size()) return std::nullopt;
  socket.sin_port = htons(number);
  return ListenAddress(socket);
}

std::optional<ListenAddress> ListenAddress::OfListener(int fd) {
  int listening = 0;
  socklen_t size = sizeof(listening);
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || listening == 0) {
    return std::nullopt;
  }
  sockaddr_storage storage;
  size = sizeof(storage);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0 ||
      storage.ss_family != AF_INET) {
    return std::nullopt;
  }
  return ListenAddress(reinterpret_cast<const sockaddr_in&>(storage));
}

int ListenAddress::Probe() const {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  const int on = 1;  // as the server does: connections that linger don't keep the port
  int error = 0;
  if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
      bind(fd, Generic(&socket_), sizeof(socket_)) != 0 || listen(fd, 1) != 0) {
    error = errno;
  }
  close(fd);
  return error;
}

std::string ListenAddress::ToString() const {
  char host[INET_ADDRSTRLEN];
  inet_ntop(AF_INET, &socket_.sin_addr, host, sizeof(host));
  return std::string(host) + ":" + std::to_string(ntohs(socket_.sin_port));
}

ListenAddress ListenAddress::WithPort(uint16_t port) const {
  ListenAddress copy = *this;
  copy.socket_.sin_port = htons(port);
  return copy;
}

}  // namespace numaheap::exporters
