// Every CUDA kernel without torch: right or wrong, microseconds, fraction of a copy.
//
//   driver [--check] [--time] [--once] [--ops NAME...] [--sizes all|small|launch|tiny]
//          [--seconds S] [--exact] [--plant KIND] [--list] [--device cuda]
//
// One JSON object a line. --check tries odd shapes and layouts, every option and dtype; --time
// times the sizes of benchmarks/gpu/rows.py, every op at its smallest before any at its next;
// --once runs each of these kernels once, for a profiler. --exact allocates without guards, for
// compute-sanitizer. --plant makes a fault, to show that it is found: value, unwritten, overrun.
// Exit status: 0, 1 if a check failed, 2 after an error of CUDA.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <chrono>

#include "cases.h"
#include "device_api.h"

namespace driver {
namespace {

struct Choice {
  bool check = false, time = false, once = false, list = false;
  std::vector<std::string> ops;
  std::string sizes = "all", plant;
  double seconds = 1e9;

  bool has(const Op& op) const {
    return ops.empty() || std::find(ops.begin(), ops.end(), op.name) != ops.end();
  }
};

double seconds_now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(since).count();
}

struct Tally {
  int checked = 0, failed = 0, timed = 0;
};

// ---- lines -------------------------------------------------------------------------

void begin_line(const Op& op, const Spec& spec) {
  printf("{\"op\": \"%s\", \"direction\": \"%s\", \"dtype\": \"%s\", \"size\": [%lld",
         op.name.c_str(), spec.direction == Direction::forward ? "forward" : "backward",
         name_of(spec.dtype), static_cast<long long>(spec.rows));
  if (!op.is_elementwise) printf(", %lld", static_cast<long long>(spec.width));
  printf("]");
  if (!spec.note.empty()) printf(", \"note\": \"%s\"", spec.note.c_str());
}
void end_line() {
  printf("}\n");
  fflush(stdout);
}
void print_check(const std::string& problem, double error, double allowed) {
  printf(", \"check\": \"%s%s\"", problem.empty() ? "passed" : "failed: ", problem.c_str());
  if (isfinite(error)) printf(", \"error\": %.3g", error);
  printf(", \"allowed\": %.3g", allowed);
}

// ---- right or wrong ----------------------------------------------------------------

// A fault as a kernel might make it, in the first result or beside it.
void plant(const std::string& kind, Case& c) {
  if (kind.empty()) return;
  Matrix& m = c.first_output();
  const Operand o = m.at(Where::device);
  const size_t size = fk::size_of(o.dtype), bytes = m.bytes();
  if (bytes == 0) return;
  unsigned char* data = static_cast<unsigned char*>(o.base);
  if (kind == "value") device::fill(data + bytes - size, 0x3C, size);  // 0x3C3C... is a number
  if (kind == "unwritten") device::fill(data + bytes - size, 0xFF, size);
  if (kind == "overrun") device::fill(data + bytes, 0, size);
}

// Checks a case; `says` prints a line for what passes, too.
bool check(const Op& op, const Spec& spec, const Choice& choice, Tally& tally) {
  const std::unique_ptr<Case> c = op.make(spec);
  c->context = device::context();
  c->poison();
  c->run();
  plant(choice.plant, *c);
  double error = 0, allowed = 0;
  const std::string problem = c->problem(error, allowed);
  ++tally.checked;
  tally.failed += !problem.empty();
  begin_line(op, spec);
  print_check(problem, error, allowed);
  end_line();
  return problem.empty();
}

struct Shape {
  int64_t rows, width;
  Layout layout;
};
// Rows that fit a tile many at a time, a few, or not at all; few long ones, which are divided;
// starts that no pack fits; gaps and strides; nothing.
std::vector<Shape> shapes(const Choice& choice) {
  if (choice.sizes == "tiny")
    return {{3, 512, {}},         {5, 6, {}},         {70, 24, {}},   {2, 2056, {}},
            {66, 132, {5, 3, 1}}, {4, 40, {0, 0, 2}}, {1, 20480, {}}, {9, 1100, {}},
            {40, 130, {}},        {4, 2061, {}},      {0, 8, {}}};
  return {{64, 8, {}},          {300, 3, {}},        {70, 24, {}},         {2, 128, {}},
          {33, 784, {}},        {5, 1024, {}},       {2, 2056, {}},        {3, 16411, {}},
          {1, 20480, {}},       {1, 200000, {}},     {2000, 6, {}},        {70, 24, {1, 0, 1}},
          {33, 132, {3, 5, 1}}, {9, 130, {0, 1, 2}}, {3, 4096, {0, 8, 1}}, {0, 8, {}}};
}
std::vector<Shape> counts(const Choice& choice) {
  if (choice.sizes == "tiny") return {{1022, 1, {}}, {1, 1, {}}, {0, 1, {}}, {515, 1, {1, 0, 1}}};
  return {{1022, 1, {}}, {1, 1, {}}, {0, 1, {}}, {4099, 1, {1, 0, 1}}, {100000, 1, {}}};
}

// What an op is tried in, in an order that has seen a little of everything wherever it is cut off.
std::vector<Spec> specs_of(const Op& op, const Choice& choice) {
  const std::vector<Shape> all = op.is_elementwise ? counts(choice) : shapes(choice);
  std::vector<Spec> specs;
  const auto add = [&](DType dtype, Direction direction, size_t note, size_t shape) {
    const Shape& s = all[shape % all.size()];
    // Long rows take the reference its time: a few options see them.
    if (s.rows * s.width > 50000 && note >= 4) return;
    const std::string& n = op.notes[note % op.notes.size()];
    specs.push_back({direction, dtype, s.rows, s.width, n, s.layout});
  };
  for (Direction direction : op.directions) {
    // float32 in every option at every shape.
    for (size_t note = 0; note < op.notes.size(); ++note)
      for (size_t shape = 0; shape < all.size(); ++shape) add(DType::f32, direction, note, shape);
    // What the other dtypes see is shared out: three times around, each option at another shape
    // every time.
    for (DType dtype : op.dtypes)
      for (size_t n = 0; dtype != DType::f32 && n < 3 * std::max(all.size(), op.notes.size()); ++n)
        add(dtype, direction, n, n + n / op.notes.size());
  }
  constexpr size_t stride = 7919;  // a prime, and larger than any list
  std::vector<Spec> mixed;
  for (size_t i = 0; i < specs.size(); ++i) mixed.push_back(specs[i * stride % specs.size()]);
  return mixed;
}

void check_all(const Choice& choice, double end, Tally& tally) {
  std::vector<std::pair<const Op*, std::vector<Spec>>> lists;
  size_t longest = 0;
  for (const Op& op : ops()) {
    if (!choice.has(op)) continue;
    lists.emplace_back(&op, specs_of(op, choice));
    longest = std::max(longest, lists.back().second.size());
  }
  for (size_t i = 0; i < longest; ++i)
    for (const auto& [op, specs] : lists) {
      if (seconds_now() > end) return;
      if (i < specs.size()) check(*op, specs[i], choice, tally);
    }
}

// ---- how fast ----------------------------------------------------------------------

double copy_speed() {  // bytes a second, those read and those written
  const size_t bytes = device::has_exact_allocations ? size_t{1} << 20 : size_t{256} << 20;
  Memory from(bytes), to(bytes);
  device::fill(from.data(), 1, bytes);
  device::Timer timer;
  const int repeats = 20;
  for (int i = 0; i < 5; ++i) device::copy(to.data(), from.data(), bytes);
  timer.start();
  for (int i = 0; i < repeats; ++i) device::copy(to.data(), from.data(), bytes);
  return 2.0 * double(bytes) * repeats / timer.stop();
}

// Keeps the device busy until its clocks are up.
void spin(double seconds) {
  const double end = seconds_now() + seconds;
  while (seconds_now() < end) {
    copy_speed();
  }
}

double median_seconds(std::vector<std::unique_ptr<Case>>& cases, double limit) {
  const int count = static_cast<int>(cases.size());
  device::Timer timer;
  const auto turns = [&](int n) {
    timer.start();
    for (int i = 0; i < n; ++i) cases[size_t(i % count)]->run();
    return timer.stop();
  };
  turns(count);
  const double once = std::max(turns(count) / count, 1e-9);
  const int calls = std::clamp(static_cast<int>(1e-3 / once), count, 10000);
  std::vector<double> times;
  const double end = seconds_now() + limit;
  while (times.size() < 3 || (times.size() < 31 && seconds_now() < end))
    times.push_back(turns(calls) / calls);
  std::nth_element(times.begin(), times.begin() + long(times.size() / 2), times.end());
  return times[times.size() / 2];
}

// The sizes of benchmarks/gpu/rows.py, in its order: the cost of a launch, the largest, the others.
struct Size {
  int64_t rows, width;
};
std::vector<Size> sizes_of(const Op& op, const Choice& choice) {
  if (choice.sizes == "tiny")
    return op.is_elementwise ? std::vector<Size>{{512, 1}} : std::vector<Size>{{64, 8}};
  std::vector<Size> all =
      op.is_elementwise ? std::vector<Size>{{512, 1}, {100000000, 1}, {65536, 1}, {1048576, 1}}
                        : std::vector<Size>{{64, 8}, {65536, 1024}, {8192, 784}, {1048576, 6}};
  if (choice.sizes == "launch") all.resize(1);
  if (choice.sizes == "small") all = {all[0], all[2]};
  return all;
}

void time_row(const Op& op, Spec spec, double copy, int64_t cache, bool once, Tally& tally) {
  spec.most = 64;
  std::vector<std::unique_ptr<Case>> cases;
  cases.push_back(op.make(spec));
  cases[0]->context = device::context();
  const size_t bytes = cases[0]->bytes();
  cases[0]->poison();
  cases[0]->run();
  double error = 0, allowed = 0;
  const std::string problem = cases[0]->problem(error, allowed);
  ++tally.checked;
  tally.failed += !problem.empty();
  double seconds = 0;
  if (problem.empty() && !once) {
    const int64_t wanted = bytes > 0 ? 4 * cache / int64_t(bytes) + 1 : 1;
    while (int64_t(cases.size()) < std::clamp<int64_t>(wanted, 1, 32)) {
      cases.push_back(op.make(spec));
      cases.back()->context = device::context();
    }
    seconds = median_seconds(cases, 0.12);
    ++tally.timed;
  }
  // A line begins when all is known: an error of CUDA is a line of its own.
  begin_line(op, spec);
  print_check(problem, error, allowed);
  if (seconds > 0) {
    const double speed = double(bytes) / seconds;
    printf(
        ", \"us\": %.5g, \"bytes\": %zu, \"gigabytes_per_second\": %.5g, \"fraction_of_copy\": "
        "%.4g",
        1e6 * seconds, bytes, 1e-9 * speed, speed / copy);
  }
  end_line();
}

bool is_coupling(const Op& op) { return op.name.rfind("affine_coupling", 0) == 0; }
bool has_many_points(const Op& op, const std::string& note) {
  return op.name == "slerp" && note == "16 points";
}

// What is timed of an op at a size: its first variant, and where a launch is all there is another.
std::vector<std::string> timed_notes(const Op& op, size_t rank, bool once) {
  if (op.name == "bessel") return {op.notes[0], op.notes[1]};
  if (is_coupling(op) || op.notes.size() == 1 || op.is_elementwise || once) return {op.notes[0]};
  if (rank == 0 || (rank == 1 && has_many_points(op, op.notes[1])))
    return {op.notes[0], op.notes[1]};
  return {op.notes[0]};
}

void time_all(const Choice& choice, double copy, int64_t cache, double end, Tally& tally) {
  const auto time_one = [&](const Op& op, size_t rank, DType dtype, const std::string& note) {
    const std::vector<Size> sizes = sizes_of(op, choice);
    if (!choice.has(op) || rank >= sizes.size()) return;
    Size size = sizes[rank];
    if (rank == 1 && has_many_points(op, note)) size = {65536, 64};
    for (Direction direction : op.directions)
      if (seconds_now() < end)
        time_row(op, {direction, dtype, size.rows, size.width, note, {}}, copy, cache, choice.once,
                 tally);
  };
  const auto time_round = [&](size_t rank, bool single) {
    for (const Op& op : ops())
      for (const std::string& note : timed_notes(op, rank, choice.once))
        for (DType dtype : op.dtypes)
          if ((dtype == DType::f32) == single) time_one(op, rank, dtype, note);
  };
  const size_t rounds = choice.sizes == "tiny" ? 1 : 4, largest = rounds > 1 ? 1 : 0;
  if (choice.once) return time_round(largest, true);
  for (size_t rank = 0; rank < rounds; ++rank) time_round(rank, true);
  time_round(largest, false);  // the other dtypes, where they tell the most
  for (size_t rank = 0; rank < rounds; ++rank)
    if (rank != largest) time_round(rank, false);
  // The coupling's options, where there is time left.
  for (const Op& op : ops())
    for (size_t n = 1; is_coupling(op) && rounds > 1 && n < op.notes.size(); ++n)
      time_one(op, largest, DType::f32, op.notes[n]);
}

// ---- the command line --------------------------------------------------------------

Choice parse(int count, char** arguments) {
  Choice c;
  std::vector<std::string>* list = nullptr;
  for (int i = 1; i < count; ++i) {
    const std::string word = arguments[i];
    const auto value = [&]() -> std::string {
      if (i + 1 >= count) device::fail(word + " needs a value");
      return arguments[++i];
    };
    if (word.rfind("--", 0) != 0) {
      if (list == nullptr) device::fail("what is " + word + "?");
      list->push_back(word);
      continue;
    }
    list = nullptr;
    if (word == "--check") {
      c.check = true;
    } else if (word == "--time") {
      c.time = true;
    } else if (word == "--once") {
      c.once = true;
    } else if (word == "--list") {
      c.list = true;
    } else if (word == "--exact") {
      allocate_exactly();
    } else if (word == "--ops") {
      list = &c.ops;
    } else if (word == "--sizes") {
      c.sizes = value();
    } else if (word == "--plant") {
      c.plant = value();
    } else if (word == "--device") {
      if (const std::string name = value(); name != "cuda") device::fail("no device " + name);
    } else if (word == "--seconds") {
      c.seconds = atof(value().c_str());
    } else {
      device::fail("unknown option " + word);
    }
  }
  for (const std::string& name : c.ops)
    if (std::none_of(ops().begin(), ops().end(), [&](const Op& op) { return op.name == name; }))
      device::fail("no op is called " + name);
  return c;
}

int run(int count, char** arguments) {
  const Choice choice = parse(count, arguments);
  if (choice.list) {
    for (const Op& op : ops()) printf("%s: %zu variants\n", op.name.c_str(), op.notes.size());
    return 0;
  }
  const double end = seconds_now() + choice.seconds;
  const device::Facts facts = device::open();
  printf("{\"driver\": {\"device\": \"%s\", \"multiprocessors\": %d, \"cache_bytes\": %lld",
         facts.name.c_str(), facts.multiprocessors, static_cast<long long>(facts.cache_bytes));
  double copy = 1;
  if (choice.time) {
    spin(device::has_exact_allocations ? 0 : 0.5);
    copy = copy_speed();
    printf(", \"copy_gigabytes_per_second\": %.5g", 1e-9 * copy);
  }
  printf("}}\n");
  fflush(stdout);
  Tally tally;
  if (choice.check) check_all(choice, end, tally);
  if (choice.time || choice.once) time_all(choice, copy, facts.cache_bytes, end, tally);
  printf("{\"done\": true, \"checked\": %d, \"failed\": %d, \"timed\": %d}\n", tally.checked,
         tally.failed, tally.timed);
  return tally.failed > 0 ? 1 : 0;
}

}  // namespace
}  // namespace driver

int main(int count, char** arguments) { return driver::run(count, arguments); }
