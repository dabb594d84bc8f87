/*
 * host_cpp.cpp - a C++ program that embeds a bus through the public header alone: the bus as
 * the member of a class, callbacks as its methods; by itself, then with a worker of its own,
 * then with a client over TCP and one over a Unix socket, which live in the same thread.
 *
 * Not here: callbacks and codes one by one; host.c has those.
 *
 *   host_cpp WORKER SOCKET     the path of an echo worker, and where the Unix socket is to be
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "stdio_bus.h"

namespace {

void expect(bool fact, const std::string &what) {
    if (!fact) throw std::runtime_error("not so: " + what);
}

std::string request(int id, const std::string &text) {
    return R"({"jsonrpc":"2.0","id":)" + std::to_string(id) + R"(,"method":"echo","params":{"text":")" + text + "\"}}";
}

std::string answer(int id, const std::string &text) {
    return R"({"jsonrpc":"2.0","id":)" + std::to_string(id) + R"(,"result":{"text":")" + text + "\"}}";
}

class Bus {
public:
    std::vector<std::string> messages;
    int clients = 0;

    Bus(const std::string &worker, int mode, const std::string &path) {
        const std::string config = R"({"pools":[{"id":"echo","command":")" + worker + "\"}]}";
        stdio_bus_options_t options{};
        options.config_json = config.c_str();
        options.listener.mode = mode;
        options.listener.unix_path = path.c_str();
        options.on_message = [](stdio_bus_t *, const char *text, size_t len, void *self) {
            static_cast<Bus *>(self)->messages.emplace_back(text, len);
        };
        options.on_error = [](stdio_bus_t *, int, const char *message, void *) { std::cerr << message << '\n'; };
        options.on_client_connect = [](stdio_bus_t *, int, const char *, void *self) {
            static_cast<Bus *>(self)->clients++;
        };
        options.on_client_disconnect = [](stdio_bus_t *, int, const char *, void *self) {
            static_cast<Bus *>(self)->clients--;
        };
        options.user_data = this;
        bus_ = stdio_bus_create(&options);
        expect(bus_ && stdio_bus_start(bus_) == STDIO_BUS_OK, "the bus starts");
    }
    Bus(const Bus &) = delete;
    Bus &operator=(const Bus &) = delete;
    ~Bus() { stdio_bus_destroy(bus_); }

    template <typename Condition>
    void until(const std::string &what, Condition condition) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
        while (!condition()) {
            expect(std::chrono::steady_clock::now() < end, what + " in time");
            expect(stdio_bus_step(bus_, 10) >= 0, "the bus steps");
        }
    }

    void ingest(const std::string &message) {
        expect(stdio_bus_ingest(bus_, message.data(), message.size()) == STDIO_BUS_OK, "the bus takes " + message);
    }

    int worker_count() const { return stdio_bus_worker_count(bus_); }

    int add_worker(int fd) {
        const int id = stdio_bus_register_embedded_worker(bus_, fd, fd, "echo");
        expect(id > 0, "the bus takes a worker");
        return id;
    }

    void remove_worker(int id) {
        expect(stdio_bus_unregister_embedded_worker(bus_, id) == STDIO_BUS_OK, "the bus lets the worker go");
    }

    int port() const { return stdio_bus_get_listener_port(bus_); }

    void stop() {
        expect(stdio_bus_stop(bus_, -1) == STDIO_BUS_OK, "the bus begins to stop");
        until("the bus stops", [this] { return stdio_bus_get_state(bus_) == STDIO_BUS_STATE_STOPPED; });
    }

private:
    stdio_bus_t *bus_ = nullptr;
};

class Client {
public:
    template <typename Address>
    explicit Client(const Address &address) {
        const auto *to = reinterpret_cast<const sockaddr *>(&address);
        fd_ = socket(to->sa_family, SOCK_STREAM, 0);
        expect(fd_ >= 0 && fcntl(fd_, F_SETFL, O_NONBLOCK) == 0, "there is a socket");
        const int done = connect(fd_, to, sizeof address);
        expect(done == 0 || errno == EINPROGRESS, "the client connects");
    }
    Client(const Client &) = delete;
    Client &operator=(const Client &) = delete;
    ~Client() { close(fd_); }

    void send(const std::string &line) {
        expect(write(fd_, line.data(), line.size()) == static_cast<ssize_t>(line.size()), "the client writes");
    }

    /* What has come by now. */
    const std::string &received() {
        char chunk[256];
        const ssize_t n = read(fd_, chunk, sizeof chunk);
        if (n > 0) received_.append(chunk, static_cast<size_t>(n));
        return received_;
    }

private:
    int fd_ = -1;
    std::string received_;
};

sockaddr_in tcp_address(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

sockaddr_un unix_address(const std::string &path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    expect(path.size() < sizeof address.sun_path, "the path fits");
    std::strcpy(address.sun_path, path.c_str());
    return address;
}

void embedded(const std::string &worker) {
    Bus bus(worker, STDIO_BUS_LISTEN_NONE, "");
    for (int id = 1; id <= 100; id++) bus.ingest(request(id, "host"));
    bus.until("all answers come", [&] { return bus.messages.size() == 100; });
    for (int id = 1; id <= 100; id++) expect(bus.messages[static_cast<size_t>(id) - 1] == answer(id, "host"), "the order");
    bus.stop();
}

/* A worker that is an object: it answers what has come whenever it is asked to. */
class Worker {
public:
    Worker() {
        int ends[2];
        expect(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "there is a pair of sockets");
        fd_ = ends[0];
        bus_end = ends[1];
        expect(fcntl(fd_, F_SETFL, O_NONBLOCK) == 0, "it does not block");
    }
    Worker(const Worker &) = delete;
    Worker &operator=(const Worker &) = delete;
    ~Worker() { leave(); }

    int bus_end = -1; /* the bus owns it once it is registered */
    int served = 0;

    /* False at the end of its input. */
    bool serve() {
        char chunk[4096];
        const ssize_t n = read(fd_, chunk, sizeof chunk);
        if (n <= 0) return n < 0 && errno == EAGAIN;
        input_.append(chunk, static_cast<size_t>(n));
        for (size_t end; (end = input_.find('\n')) != std::string::npos; input_.erase(0, end + 1), served++) {
            const int id = std::stoi(input_.substr(input_.find("\"id\":") + 5));
            const std::string line = answer(id, "inside") + "\n";
            expect(write(fd_, line.data(), line.size()) == static_cast<ssize_t>(line.size()), "the worker writes");
        }
        return true;
    }

    void leave() {
        if (fd_ >= 0) close(fd_);
        fd_ = -1;
    }

private:
    int fd_ = -1;
    std::string input_;
};

void embedded_worker(const std::string &command) {
    Bus bus(command, STDIO_BUS_LISTEN_NONE, "");
    Worker worker;
    const int id = bus.add_worker(worker.bus_end);
    expect(bus.worker_count() == 2, "there are two workers");
    for (int i = 1; i <= 100; i++) bus.ingest(request(i, "host"));
    bus.until("all answers come", [&] { return worker.serve() && bus.messages.size() == 100; });
    int inside = 0;
    for (const std::string &message : bus.messages) inside += message.find("inside") != std::string::npos;
    expect(inside == worker.served && inside > 0 && inside < 100, "both workers have answered");
    bus.remove_worker(id);
    bus.until("its input ends", [&] { return !worker.serve(); });
    worker.leave();
    bus.until("it has gone", [&] { return bus.worker_count() == 1; });
    bus.stop();
}

/* Host and client use the same id at the same time; each gets its own answer. */
void talk(Bus &bus, Client &client) {
    bus.until("the client is there", [&] { return bus.clients == 1; });
    client.send(request(1, "client") + "\n");
    bus.ingest(request(1, "host"));
    bus.until("both answers come", [&] { return !bus.messages.empty() && client.received().find('\n') != std::string::npos; });
    expect(bus.messages == std::vector<std::string>{answer(1, "host")}, "the host has its answer");
    expect(client.received() == answer(1, "client") + "\n", "the client has its answer");
}

}  // namespace

int main(int argc, char **argv) try {
    expect(argc == 3, "there are two arguments");
    const std::string worker = argv[1], path = argv[2];
    embedded(worker);
    embedded_worker(worker);
    Bus tcp(worker, STDIO_BUS_LISTEN_TCP, ""), local(worker, STDIO_BUS_LISTEN_UNIX, path);
    {
        Client over_tcp(tcp_address(tcp.port())), over_unix(unix_address(path));
        talk(tcp, over_tcp);
        talk(local, over_unix);
    }
    tcp.until("the client has left", [&] { return tcp.clients == 0; });
    local.until("the client has left", [&] { return local.clients == 0; });
    tcp.stop();
    local.stop();
    return 0;
} catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
