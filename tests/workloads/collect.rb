# Collects garbage, and says how often.
#
#   collect.rb [wait] N
#
#   ruby pid=
#   collected count= began= ended=   marked so often between the two times, and no more
Process.setproctitle("collect.rb")
GC.disable
$stdout.sync = true
puts "ruby pid=#{$$}"
if ARGV[0] == "wait"
  ARGV.shift
  puts "ready"
  $stdin.gets
end
clock = -> { Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond) }
before = GC.count
began = clock.call
ARGV[0].to_i.times do |i|
  GC.start(full_mark: i.odd?)
end
GC.enable
kept = (1..100_000).map { |i| "text #{i}" }
GC.disable
ended = clock.call
puts "collected count=#{GC.count - before} began=#{began} ended=#{ended}"
kept.clear
# Else it would collect once more.
Process.exit!(0)
