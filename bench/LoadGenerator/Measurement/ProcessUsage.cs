using System.Globalization;

namespace ObjectStore.LoadGenerator.Measurement;

/// <summary>What /proc says about a process at one moment.</summary>
/// <param name="CpuSeconds">User and system time, to 10 ms.</param>
/// <param name="ResidentBytes">VmRSS.</param>
/// <param name="PeakResidentBytes">VmHWM.</param>
public readonly record struct ProcessUsage(double CpuSeconds, long ResidentBytes, long PeakResidentBytes)
{
    private const double ClockTicksPerSecond = 100;

    /// <summary>Reads /proc/PID; null when the process is gone or this is not Linux.</summary>
    public static ProcessUsage? Read(int processId)
    {
        try
        {
            // The command name, in parentheses, may hold spaces; the fields behind it may not.
            string stat = File.ReadAllText($"/proc/{processId}/stat");
            string[] fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
            double ticks = double.Parse(fields[11], CultureInfo.InvariantCulture) + double.Parse(fields[12], CultureInfo.InvariantCulture);
            long resident = 0;
            long peak = 0;
            foreach (string line in File.ReadLines($"/proc/{processId}/status"))
            {
                if (line.StartsWith("VmRSS:", StringComparison.Ordinal)) resident = Kilobytes(line);
                else if (line.StartsWith("VmHWM:", StringComparison.Ordinal)) peak = Kilobytes(line);
            }

            return new ProcessUsage(ticks / ClockTicksPerSecond, resident, peak);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or IndexOutOfRangeException)
        {
            return null;
        }
    }

    private static long Kilobytes(string line) =>
        long.Parse(line.Split(':')[1].Trim().Split(' ')[0], CultureInfo.InvariantCulture) * 1024;
}
