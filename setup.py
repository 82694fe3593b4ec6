from setuptools import find_packages, setup
packages = find_packages(include=["flowkernels", "flowkernels.*"])
packages += ["flowkernels.ops", "flowkernels.ops.reference"]
setup(name="flowkernels", version="0.1.0", packages=packages, package_dir={"flowkernels.ops": "python_ops"})
