namespace ObjectStore.Admin.CommandLine;

/// <summary>What scripts branch on.</summary>
internal static class ExitCode
{
    public const int Success = 0;

    /// <summary>The command ran and found damage.</summary>
    public const int DamageFound = 1;

    /// <summary>The command line cannot be used; nothing was done.</summary>
    public const int Usage = 2;

    /// <summary>The command could not be done.</summary>
    public const int Failed = 3;
}
