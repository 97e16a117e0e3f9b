// A loopback HTTP client, as small as the tests need it.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

namespace numaheap::exporters {

// A connected socket, -1 if nobody listens. `address` is "127.0.0.1:PORT".
inline int Connect(const std::string& address) {
  const size_t colon = address.rfind(':');
  sockaddr_in peer{};
  peer.sin_family = AF_INET;
  inet_pton(AF_INET, address.substr(0, colon).c_str(), &peer.sin_addr);
  peer.sin_port = htons(static_cast<uint16_t>(std::atoi(address.c_str() + colon + 1)));
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval timeout{.tv_sec = 30, .tv_usec = 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  if (connect(fd, reinterpret_cast<const sockaddr*>(&peer), sizeof(peer)) != 0) {
    close(fd);
    return -1;
  }
  return fd;
}

inline void Send(int fd, const std::string& text) {
  static_cast<void>(send(fd, text.data(), text.size(), MSG_NOSIGNAL));
}

struct HttpReply {
  int status = 0;  // 0: no reply
  std::string head;
  std::string body;
};

// The whole reply to one request; the server closes after it.
inline HttpReply Request(const std::string& address, const std::string& method,
                         const std::string& path) {
  const int fd = Connect(address);
  if (fd < 0) return {};
  Send(fd, method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
  std::string text;
  char part[4096];
  for (ssize_t size; (size = recv(fd, part, sizeof(part), 0)) > 0;) text.append(part, size);
  close(fd);
  HttpReply reply;
  const size_t end = text.find("\r\n\r\n");
  if (end == std::string::npos || text.compare(0, 9, "HTTP/1.1 ") != 0) return reply;
  reply.status = std::atoi(text.c_str() + 9);
  reply.head = text.substr(0, end + 2);
  reply.body = text.substr(end + 4);
  return reply;
}

inline HttpReply Get(const std::string& address, const std::string& path = "/metrics") {
  return Request(address, "GET", path);
}

}  // namespace numaheap::exporters
