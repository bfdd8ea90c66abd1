import java.io.File;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.util.ArrayList;
import java.util.List;

/**
 * Makes garbage, and has it collected. How often it was, and how long that took, the virtual machine
 * writes into its own log (-Xlog).
 *
 * Collections STEP...
 *   wait         for a line on the standard input; says `ready` first
 *   garbage:MIB  makes garbage
 *   keep:MIB     makes what stays
 *   old:MIB      makes what stays until it is old, and drops it
 *   collect:N    System.gc(), N times; says when each began and ended
 *   threads:N    N threads make garbage at once
 *   serve:N      three threads answer requests, and System.gc() is called N times meanwhile
 *
 *   java pid=
 *   collect began= ended=
 *   request thread= began= ended=   in it, fsync has returned, and later ftruncate was called
 */
public final class Collections {
    private static final int BLOCK = 1 << 14;
    private static final List<byte[]> KEPT = new ArrayList<>();
    private static volatile Object last;

    public static void main(String[] steps) throws Exception {
        System.out.println("java pid=" + ProcessHandle.current().pid());
        for (String step : steps) {
            String[] parts = step.split(":");
            int number = parts.length > 1 ? Integer.parseInt(parts[1]) : 0;
            switch (parts[0]) {
                case "wait" -> await();
                case "garbage" -> garbage(number);
                case "keep" -> keep(number);
                case "old" -> {
                    keep(number);
                    KEPT.clear();
                }
                case "collect" -> {
                    for (int i = 0; i < number; i++) {
                        collect();
                    }
                }
                case "threads" -> threads(number);
                case "serve" -> serve(number);
                default -> throw new IllegalArgumentException(step);
            }
        }
        System.out.println("over");
    }

    private static void await() throws IOException {
        System.out.println("ready");
        int read;
        do {
            read = System.in.read();
        } while (read != '\n' && read != -1);
    }

    private static void garbage(int mib) {
        for (long left = (long) mib << 20; left > 0; left -= BLOCK) {
            last = new byte[BLOCK];
        }
    }

    private static void keep(int mib) {
        for (long left = (long) mib << 20; left > 0; left -= BLOCK) {
            KEPT.add(new byte[BLOCK]);
        }
    }

    private static void collect() {
        long began = System.nanoTime();
        System.gc();
        long ended = System.nanoTime();
        System.out.println("collect began=" + began + " ended=" + ended);
    }

    private static void threads(int number) throws InterruptedException {
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < number; i++) {
            Thread thread = new Thread(() -> garbage(200), "garbage-" + i);
            thread.start();
            threads.add(thread);
        }
        for (Thread thread : threads) {
            thread.join();
        }
    }

    private static volatile boolean over;

    private static void serve(int number) throws InterruptedException {
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            int index = i;
            Thread thread = new Thread(() -> answer(index), "answers-" + i);
            thread.start();
            threads.add(thread);
        }
        for (int i = 0; i < number; i++) {
            Thread.sleep(100);
            collect();
        }
        Thread.sleep(100);
        over = true;
        for (Thread thread : threads) {
            thread.join();
        }
    }

    /** Each request takes some milliseconds, and asks the kernel for something when it begins and ends. */
    private static void answer(int index) {
        StringBuilder requests = new StringBuilder();
        try {
            File path = File.createTempFile("answers", null);
            path.deleteOnExit();
            try (RandomAccessFile file = new RandomAccessFile(path, "rw")) {
                for (int length = 0; !over; length++) {
                    long began = System.nanoTime();
                    file.getFD().sync();
                    last = new byte[BLOCK];
                    Thread.sleep(2);
                    file.setLength(length % 2);
                    requests.append("request thread=").append(index).append(" began=").append(began)
                            .append(" ended=").append(System.nanoTime()).append('\n');
                }
            }
        } catch (IOException | InterruptedException failure) {
            throw new IllegalStateException(failure);
        }
        System.out.print(requests);
    }
}
