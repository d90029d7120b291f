using ObjectStore.Silo.Configuration;

namespace ObjectStore.Silo.Hosting;

/// <summary>What an operator reads at the start: where it serves, and on the first start the key pair, once.</summary>
internal static class Banner
{
    /// <param name="drivesInUse">Of this process and of storage nodes, that take writes.</param>
    public static void Print(TextWriter output, string address, SiloOptions options, int drivesInUse, DataFolder folder, Credentials credentials, TimeSpan elapsed)
    {
        string nodes = options.StorageNodes.Count > 0 ? $" and those of {options.StorageNodes.Count} storage node(s)" : "";
        output.WriteLine($"ObjectStore serves S3 at {address} (data in {folder.Root}, {options.DrivePaths.Count} drive(s){nodes}, grain runtime {GrainHosting.Name}, started in {elapsed.TotalMilliseconds:0} ms)");
        if (drivesInUse <= 1) output.WriteLine("One drive, one copy of every byte: the loss of that drive loses the objects.");
        if (credentials.IsNew)
        {
            output.WriteLine();
            output.WriteLine("  A new access key, shown this once; its secret is kept in credentials.json, which only you can read:");
            output.WriteLine();
            output.WriteLine($"    export AWS_ACCESS_KEY_ID={credentials.AccessKey}");
            output.WriteLine($"    export AWS_SECRET_ACCESS_KEY={credentials.Secret}");
            output.WriteLine($"    export AWS_DEFAULT_REGION={options.Region}");
            output.WriteLine($"    aws --endpoint-url {address} s3 mb s3://my-bucket");
            output.WriteLine($"    aws --endpoint-url {address} s3 cp README.md s3://my-bucket/");
            output.WriteLine();
        }

        output.WriteLine("Ctrl-C stops it.");
        output.Flush();
    }
}
