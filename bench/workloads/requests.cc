// requests: threads of a key-value server. A request allocates some blocks that die with it, and
// one in three stores an item in a table that all threads share, in the place of a random one,
// which it frees. So lifetimes are either one request or spread exponentially over the table's.
//
// Sizes: keys follow the generalised extreme value distribution and values the generalised Pareto
// distribution that Atikoglu, Xu, Frachtenberg, Jiang and Paleczny fitted to Facebook's ETC pool
// ("Workload analysis of a large-scale key-value store", SIGMETRICS 2012). That most blocks of such
// servers die with their request: Inoue, Komatsu and Nakatani, "A study of memory management for
// web-based applications on multicore processors", PLDI 2009.
#include <array>
#include <cmath>
#include <mutex>

#include "bench/workloads/block.h"
#include "bench/workloads/random.h"
#include "bench/workloads/threads.h"
#include "bench/workloads/workloads.h"

namespace numaheap::workloads {
namespace {

// Quantiles of a distribution, looked up: no power is computed in what is measured.
class Sizes {
 public:
  template <typename Quantile>
  explicit Sizes(Quantile quantile) {
    for (size_t i = 0; i < sizes_.size(); ++i) {
      const double share = (static_cast<double>(i) + 0.5) / static_cast<double>(sizes_.size());
      sizes_[i] = static_cast<size_t>(std::max(quantile(share), double{kWord}));
    }
  }
  size_t operator()(Random& random) const { return sizes_[random.Below(sizes_.size())]; }

 private:
  std::array<size_t, 4096> sizes_;
};

const Sizes& KeySizes() {
  static const Sizes sizes([](double share) {
    constexpr double kLocation = 30.7984, kScale = 8.20449, kShape = 0.078688;
    return kLocation + kScale * (std::pow(-std::log(share), -kShape) - 1) / kShape;
  });
  return sizes;
}

const Sizes& ValueSizes() {
  static const Sizes sizes([](double share) {
    constexpr double kScale = 214.476, kShape = 0.348238;
    return kScale * (std::pow(1 - share, -kShape) - 1) / kShape;
  });
  return sizes;
}

struct Item {
  Block key;
  Block value;
};

// Slots that are locked 1,024 at a time, in turn.
class Table {
 public:
  explicit Table(size_t items) : items_(items) {}
  ~Table() {
    for (const Item& item : items_) Drop(item);
  }

  void Replace(size_t slot, Item item) {
    {
      const std::lock_guard lock(locks_[slot % locks_.size()]);
      std::swap(items_[slot], item);
    }
    Drop(item);
  }
  size_t size() const { return items_.size(); }

 private:
  static void Drop(const Item& item) {
    Free(item.key);
    Free(item.value);
  }

  std::array<std::mutex, 1024> locks_;
  std::vector<Item> items_;
};

// Buffers, parsed words, the answer.
void Transaction(Random& random) {
  std::array<Block, 8> blocks;
  const size_t count = 2 + random.Below(blocks.size() - 1);
  for (size_t i = 0; i < count; ++i) {
    blocks[i] = Allocate(i == 0 ? 4096 : i % 2 == 0 ? ValueSizes()(random) : KeySizes()(random));
  }
  for (size_t i = 0; i < count; ++i) Free(blocks[i]);
}

}  // namespace

void Requests(const Parameters& parameters) {
  Table table(parameters["items"]);
  const size_t threads = parameters["threads"];
  const uint64_t requests = parameters["requests"] / threads;
  RunThreads(threads, [&](size_t index) {
    Random random(index);
    for (uint64_t left = requests; left > 0; --left) {
      Transaction(random);
      if (left % 3 == 0) {
        const Item item{Allocate(KeySizes()(random)), Allocate(ValueSizes()(random))};
        table.Replace(random.Below(table.size()), item);
      }
    }
  });
}

}  // namespace numaheap::workloads
